import { createHash, createPublicKey, type KeyObject, type X509Certificate } from "node:crypto";
import { isOcidError, messageOf, OcidError, wrapError } from "@ocid/base";
import { parseJsonObject } from "@ocid/spec";
import type { TransparencyLogEntry } from "@sigstore/bundle";
import { TrustedRoot } from "@sigstore/protobuf-specs";
import { type SignedEntity, type TrustMaterial, toTrustMaterial, Verifier } from "@sigstore/verify";
import { certificateAuthority, checkSigner, type SignerIdentity } from "./certificate-authority.ts";
import type { ImageSignature } from "./image-signature.ts";
import { checkLoggedSigner } from "./logged-signer.ts";
import type { SignaturePayload } from "./signature-payload.ts";
import { openSigstoreSignature, type SigstoreEntity } from "./sigstore-entity.ts";

/** Whose signatures of sigstore's count. */
export type SigstoreTrust =
  | {
      readonly kind: "keys";
      readonly keys: readonly KeyObject[];
      /** Of the transparency logs one of which a signature must be in; undefined: of none. */
      readonly logKeys: readonly KeyObject[] | undefined;
    }
  | {
      readonly kind: "certificates";
      readonly roots: readonly X509Certificate[];
      readonly intermediates: readonly X509Certificate[];
      readonly identity: SignerIdentity;
      /** Undefined: no log is asked, and certificates must be valid now. */
      readonly logKeys: readonly KeyObject[] | undefined;
    }
  /** A trusted root of sigstore's: authorities, logs and time stamps as its own clients know them. */
  | { readonly kind: "root"; readonly material: TrustMaterial; readonly identity: SignerIdentity };

const noMaterial: TrustMaterial = {
  certificateAuthorities: [],
  timestampAuthorities: [],
  tlogs: [],
  ctlogs: [],
  publicKey: () => {
    throw new OcidError("PERMISSION_DENIED", "it is signed with a key instead of a certificate");
  },
};

export function parsePublicKey(bytes: Uint8Array): KeyObject {
  try {
    return createPublicKey(Buffer.from(bytes));
  } catch (error) {
    throw wrapError("read a public key", error, "INVALID_ARGUMENT");
  }
}

/** Reads a trusted root (`trusted_root.json`, media type `application/vnd.dev.sigstore.trustedroot+json`). */
export function parseTrustedRoot(bytes: Uint8Array, what = "trusted root"): TrustMaterial {
  const json = parseJsonObject(bytes, what);
  try {
    return toTrustMaterial(TrustedRoot.fromJSON(json));
  } catch (error) {
    throw wrapError(`read ${what}`, error, "INVALID_ARGUMENT");
  }
}

/** What a signature says, when it is of somebody who is trusted. PERMISSION_DENIED otherwise. */
export function verifySigstoreSignature(
  signature: Exclude<ImageSignature, { kind: "simple" }>,
  trust: SigstoreTrust,
): SignaturePayload {
  const opened = openSigstoreSignature(signature);
  try {
    if (trust.kind === "keys") verifyByKey(opened.entity, trust);
    else if (trust.kind === "root") verifyByRoot(opened, trust);
    else verifyByCertificate(opened, trust);
  } catch (error) {
    if (isOcidError(error)) throw error;
    const { cause } = error as Error;
    const why = cause instanceof Error ? `${messageOf(error)}: ${messageOf(cause)}` : messageOf(error);
    throw new OcidError("PERMISSION_DENIED", why, { cause: error });
  }
  return opened.payload();
}

function verifyByKey(
  entity: SignedEntity,
  { keys, logKeys }: Extract<SigstoreTrust, { kind: "keys" }>,
): void {
  const key = keys.find(candidate => entity.signature.verifySignature(candidate));
  if (!key) throw denied("not signed by any of the keys");
  const tlogEntries = logKeys ? loggedEntries(entity) : [];
  new Verifier(
    {
      ...noMaterial,
      tlogs: logsOf(logKeys, tlogEntries),
      publicKey: () => ({ publicKey: key, validFor: () => true }),
    },
    { ctlogThreshold: 0, timestampThreshold: 0, tlogThreshold: tlogEntries.length > 0 ? 1 : 0 },
  ).verify({ ...entity, key: { $case: "public-key", hint: "" }, timestamps: [], tlogEntries });
  for (const entry of tlogEntries) checkLoggedSigner(entry, key);
}

function verifyByCertificate(
  { entity, certificate, chain }: SigstoreEntity,
  { roots, intermediates, identity, logKeys }: Extract<SigstoreTrust, { kind: "certificates" }>,
): void {
  if (certificate === undefined) throw denied("it has no certificate");
  checkSigner(certificate, identity);
  const tlogEntries = logKeys ? loggedEntries(entity) : [];
  // A certificate must have been valid when the log took the signature in; without a log, now.
  const timestamps = logKeys
    ? entity.timestamps.filter(({ $case }) => $case === "transparency-log")
    : [currentTime()];
  new Verifier(
    {
      ...noMaterial,
      certificateAuthorities: [certificateAuthority(roots, [...intermediates, ...chain])],
      tlogs: logsOf(logKeys, tlogEntries),
    },
    { ctlogThreshold: 0, timestampThreshold: 1, tlogThreshold: logKeys ? 1 : 0 },
  ).verify(
    { ...entity, timestamps, tlogEntries },
    identity.issuer === undefined ? undefined : { extensions: { issuer: identity.issuer } },
  );
  for (const entry of tlogEntries) checkLoggedSigner(entry, certificate.publicKey);
}

function verifyByRoot(
  { entity, certificate }: SigstoreEntity,
  { material, identity }: Extract<SigstoreTrust, { kind: "root" }>,
): void {
  if (certificate === undefined) throw denied("it has no certificate");
  checkSigner(certificate, identity);
  new Verifier(material, { ctlogThreshold: material.ctlogs.length > 0 ? 1 : 0 }).verify(
    entity,
    identity.issuer === undefined ? undefined : { extensions: { issuer: identity.issuer } },
  );
  for (const entry of entity.tlogEntries) checkLoggedSigner(entry, certificate.publicKey);
}

/** The log's entries that carry its promise, which is what fixes the time; PERMISSION_DENIED where there are none. */
function loggedEntries({ tlogEntries }: SignedEntity): TransparencyLogEntry[] {
  const promised = tlogEntries.filter(({ inclusionPromise }) => inclusionPromise !== undefined);
  if (promised.length === 0) throw denied("it is not in a transparency log");
  return promised;
}

/** Logs are known by the digests of their keys (RFC 6962, section 3.2). */
function logsOf(
  keys: readonly KeyObject[] | undefined,
  entries: readonly TransparencyLogEntry[],
): TrustMaterial["tlogs"] {
  return (keys ?? []).map(publicKey => ({
    publicKey,
    logID: createHash("sha256")
      .update(publicKey.export({ type: "spki", format: "der" }))
      .digest(),
    // Checkpoints name their log, which a key alone does not; whatever name they give, the key must have signed it.
    baseURL: entries.map(entry => entry.inclusionProof?.checkpoint?.envelope ?? "").join("\n"),
    validFor: { start: new Date(0), end: new Date(8.64e15) },
  }));
}

/** The verifier knows times only as those of a log's entry. */
function currentTime(): SignedEntity["timestamps"][number] {
  const integratedTime = String(Math.floor(Date.now() / 1000));
  return {
    $case: "transparency-log",
    tlogEntry: {
      logId: { keyId: Buffer.alloc(0) },
      integratedTime,
      inclusionPromise: { signedEntryTimestamp: Buffer.alloc(0) },
    } as TransparencyLogEntry,
  };
}

function denied(why: string): OcidError {
  return new OcidError("PERMISSION_DENIED", why);
}
