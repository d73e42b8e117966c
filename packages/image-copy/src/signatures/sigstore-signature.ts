import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { OcidError, wrapError } from "@ocid/base";
import { digestBytes, digestHex, Fields, parseJsonObject } from "@ocid/spec";
import type { ImageSignature } from "./image-signature.ts";
import { parseSignaturePayload, type SignaturePayload } from "./signature-payload.ts";

export const signatureAnnotation = "dev.cosignproject.cosign/signature";
export const bundleAnnotation = "dev.sigstore.cosign/bundle";

export function parsePublicKey(bytes: Uint8Array): KeyObject {
  try {
    return createPublicKey(Buffer.from(bytes));
  } catch (error) {
    throw wrapError("read a public key", error, "INVALID_ARGUMENT");
  }
}

/**
 * The payload of a signature of cosign's that one of the keys has made, entered into the transparency log of one of
 * `rekorKeys` where there are any. PERMISSION_DENIED otherwise.
 */
export function verifySigstoreSignature(
  signature: Extract<ImageSignature, { kind: "sigstore" }>,
  keys: readonly KeyObject[],
  rekorKeys: readonly KeyObject[] | undefined,
): SignaturePayload {
  const { payload, annotations } = signature;
  const text = annotations[signatureAnnotation];
  if (text === undefined) throw denied("it has no signature");
  const bytes = Buffer.from(text, "base64");
  const signer = keys.find(key => isSignedBy(payload, bytes, key));
  if (!signer) throw denied("not signed by any of the keys");
  if (rekorKeys !== undefined) verifyLogEntry(signature, text, signer, rekorKeys);
  return parseSignaturePayload(payload, "cosign container image signature");
}

/** The log's promise (its signature over the entry), and that the entry is of this very signature. */
function verifyLogEntry(
  { payload, annotations }: Extract<ImageSignature, { kind: "sigstore" }>,
  signature: string,
  signer: KeyObject,
  rekorKeys: readonly KeyObject[],
): void {
  const text = annotations[bundleAnnotation];
  if (text === undefined) throw denied("it is not in a transparency log");
  const bundle = new Fields(parseJsonObject(Buffer.from(text), "log entry"), "log entry");
  const entry = new Fields(bundle.raw("Payload"), "log entry: Payload");
  // The log signs the entry in canonical JSON: keys sorted, no spaces.
  const signed = Buffer.from(
    JSON.stringify({
      body: entry.string("body"),
      integratedTime: entry.size("integratedTime"),
      logID: entry.string("logID"),
      logIndex: entry.size("logIndex"),
    }),
  );
  const promise = Buffer.from(bundle.string("SignedEntryTimestamp"), "base64");
  if (!rekorKeys.some(key => isSignedBy(signed, promise, key)))
    throw denied("the transparency log's signature is not of any of its keys");
  const body = new Fields(
    parseJsonObject(Buffer.from(entry.string("body"), "base64"), "log entry: body"),
    "log entry: body",
  );
  if (body.string("kind") !== "hashedrekord") throw denied(`the log entry is of kind ${body.string("kind")}`);
  const spec = new Fields(body.raw("spec"), "log entry: spec");
  const logged = new Fields(spec.raw("signature"), "log entry: signature");
  const hash = new Fields(new Fields(spec.raw("data"), "log entry: data").raw("hash"), "log entry: hash");
  const key = new Fields(logged.raw("publicKey"), "log entry: publicKey");
  if (hash.string("algorithm") !== "sha256" || hash.string("value") !== digestHex(digestBytes(payload)))
    throw denied("the log entry is of another payload");
  if (!Buffer.from(logged.string("content"), "base64").equals(Buffer.from(signature, "base64")))
    throw denied("the log entry is of another signature");
  if (!parsePublicKey(Buffer.from(key.string("content"), "base64")).equals(signer))
    throw denied("the log entry is of another key");
}

function isSignedBy(data: Uint8Array, signature: Uint8Array, key: KeyObject): boolean {
  try {
    // Ed25519 has its digest built in.
    const digest = key.asymmetricKeyType === "ed25519" ? null : "sha256";
    return verify(digest, data, key, signature);
  } catch {
    return false;
  }
}

function denied(why: string): OcidError {
  return new OcidError("PERMISSION_DENIED", why);
}
