import { OcidError } from "@ocid/base";
import { type Digest, Fields, parseDigest, parseJsonObject } from "@ocid/spec";
import { refuseUnknownKeys } from "../refuse-unknown-keys.ts";
import { checkUniqueKeys } from "../unique-keys.ts";

/** What a signature says: this manifest may be called by this name. */
export interface SignaturePayload {
  readonly manifestDigest: Digest;
  /** Undefined where it speaks of the manifest alone, as cosign's bundles do. */
  readonly reference: string | undefined;
}

/** Parses a payload that has been verified; what is critical and not understood refuses it (containers-signature(5)). */
export function parseSignaturePayload(bytes: Uint8Array, type: string): SignaturePayload {
  const what = "signature payload";
  const document = parseJsonObject(bytes, what);
  checkUniqueKeys(new TextDecoder().decode(bytes), what);
  refuseUnknownKeys(document, ["critical", "optional"], what);
  const critical = open(document["critical"], ["type", "image", "identity"], `${what}: critical`);
  const found = critical.string("type");
  if (found !== type)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what} is of type ${JSON.stringify(found.slice(0, 80))}, not ${type}`,
    );
  const image = open(critical.raw("image"), ["docker-manifest-digest"], `${what}: image`);
  const identity = open(critical.raw("identity"), ["docker-reference"], `${what}: identity`);
  return {
    manifestDigest: parseDigest(image.raw("docker-manifest-digest")),
    reference: identity.string("docker-reference"),
  };
}

function open(value: unknown, keys: readonly string[], what: string): Fields {
  const fields = new Fields(value, what);
  refuseUnknownKeys(value as Readonly<Record<string, unknown>>, keys, what);
  return fields;
}
