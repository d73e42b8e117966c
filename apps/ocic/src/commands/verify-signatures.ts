import { isOcidError, OcidError } from "@ocid/base";
import {
  createRegistrySource,
  loadSignatureStores,
  type SignatureTrust,
  verifySignature,
} from "@ocid/image-copy";
import type { RegistryClient } from "@ocid/registry";
import { ExitWith } from "../exit-code.ts";
import { type GlobalOptions, imagePolicy, platformOf, registryClient } from "../global-options.ts";
import { printRows } from "../output/output.ts";
import { findReference } from "./image-places.ts";
import { readNamedFile } from "./read-file.ts";

/** Ends the command when an image is not signed as wanted. */
const notSigned = 24;

export interface SignatureFlags {
  readonly signature?: boolean;
  readonly key?: readonly string[];
  readonly certificateIdentity?: string;
  readonly certificateOidcIssuer?: string;
  readonly trustedRoot?: string;
}

interface SignatureVerdict {
  readonly name: string;
  readonly verdict: "signed" | "refused";
  /** Of what was checked. */
  readonly digest?: string;
  /** By which the image can be used without being another one by then. */
  readonly pinned?: string | undefined;
  /** What the signature calls it. */
  readonly signedAs?: string | undefined;
  readonly detail: string;
}

/** Are images in registries signed as they must be? */
export async function verifySignatures(
  names: readonly string[],
  flags: SignatureFlags,
  options: GlobalOptions,
): Promise<void> {
  if (names.length === 0) throw new OcidError("INVALID_ARGUMENT", "name an image whose signatures to check");
  const trust = await trustOf(flags, options);
  await using client = registryClient(options);
  const verdicts: SignatureVerdict[] = [];
  for (const name of names) verdicts.push(await judge(client, name, trust, options));
  const rows = verdicts.map(({ name, verdict, pinned, detail }) => [name, verdict, pinned ?? "-", detail]);
  printRows(options.json ?? false, verdicts, ["image", "verdict", "checked", "detail"], rows);
  if (verdicts.some(({ verdict }) => verdict === "refused")) throw new ExitWith(notSigned);
}

async function judge(
  client: RegistryClient,
  text: string,
  trust: SignatureTrust,
  options: GlobalOptions,
): Promise<SignatureVerdict> {
  const reference = await findReference(client, text.replace(/^docker:\/\//, ""));
  // With keys of one's own, signatures count wherever they lie; a policy speaks for where registries.d says.
  const stores = await loadSignatureStores();
  const everywhere = { lookasideOf: stores.lookasideOf, usesAttachments: () => true };
  const source = createRegistrySource(client, reference, trust.kind === "policy" ? stores : everywhere);
  try {
    const verified = await verifySignature(source, trust, { platform: platformOf(options) });
    return {
      name: text,
      verdict: "signed",
      digest: verified.digest,
      pinned: verified.pinned,
      signedAs: verified.reference,
      detail: verified.reference === undefined ? "" : `signed as ${verified.reference}`,
    };
  } catch (error) {
    if (!isOcidError(error) || error.reason !== "PolicyRejected") throw error;
    return { name: text, verdict: "refused", detail: error.message };
  }
}

async function trustOf(flags: SignatureFlags, options: GlobalOptions): Promise<SignatureTrust> {
  const { key, certificateIdentity: subject, certificateOidcIssuer: issuer, trustedRoot } = flags;
  const byCertificate = [subject, issuer, trustedRoot].filter(flag => flag !== undefined).length;
  const ways = [key !== undefined, byCertificate > 0, options.policy !== undefined];
  if (ways.filter(Boolean).length > 1)
    throw new OcidError("INVALID_ARGUMENT", "--key, --certificate-identity and --policy exclude each other");
  if (key)
    return { kind: "keys", keys: await Promise.all(key.map(file => readNamedFile(file, "public key"))) };
  if (byCertificate === 0) return { kind: "policy", policy: await imagePolicy(options) };
  if (subject === undefined || issuer === undefined || trustedRoot === undefined)
    throw new OcidError(
      "INVALID_ARGUMENT",
      "--certificate-identity, --certificate-oidc-issuer and --trusted-root are needed together",
    );
  return {
    kind: "certificate",
    subject,
    issuer,
    trustedRoot: await readNamedFile(trustedRoot, "trusted root"),
  };
}
