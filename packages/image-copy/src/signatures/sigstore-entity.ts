import { type KeyObject, verify, X509Certificate } from "node:crypto";
import { messageOf, OcidError } from "@ocid/base";
import { Fields, parseDigest, parseJsonObject } from "@ocid/spec";
import { bundleFromJSON, type TransparencyLogEntry as LogEntry } from "@sigstore/bundle";
import { X509Certificate as SigstoreCertificate, crypto as sigstoreCrypto } from "@sigstore/core";
import { TransparencyLogEntry } from "@sigstore/protobuf-specs";
import { type SignedEntity, toSignedEntity } from "@sigstore/verify";
import { type ImageSignature, maxSignatureBytes } from "./image-signature.ts";
import { parseCertificates } from "./parse-certificates.ts";
import { parseSignaturePayload, type SignaturePayload } from "./signature-payload.ts";

export const signatureAnnotation = "dev.cosignproject.cosign/signature";
export const bundleAnnotation = "dev.sigstore.cosign/bundle";
export const certificateAnnotation = "dev.sigstore.cosign/certificate";
export const chainAnnotation = "dev.sigstore.cosign/chain";

export const statementPayloadType = "application/vnd.in-toto+json";
export const statementType = "https://in-toto.io/Statement/v1";
/** What a statement says that is a signature; others (bills of materials, provenance) say something about an image. */
export const signPredicate = "https://sigstore.dev/cosign/sign/v1";

/** A signature of sigstore's in whichever form, taken apart; nothing of it is believed yet. */
export interface SigstoreEntity {
  readonly entity: SignedEntity;
  /** The signer's, where a certificate says who has signed. */
  readonly certificate: X509Certificate | undefined;
  /** Further ones that came along. */
  readonly chain: readonly X509Certificate[];
  /** What it says; only asked for once it is verified. */
  payload(): SignaturePayload;
}

/** Takes a signature apart. PERMISSION_DENIED where there is none in it, INVALID_ARGUMENT where it cannot be read. */
export function openSigstoreSignature(
  signature: Exclude<ImageSignature, { kind: "simple" }>,
): SigstoreEntity {
  return signature.kind === "bundle" ? openBundle(signature.document) : openAttached(signature);
}

function openBundle(document: Uint8Array): SigstoreEntity {
  const json = parseJsonObject(document, "bundle", maxSignatureBytes);
  let bundle: ReturnType<typeof bundleFromJSON>;
  try {
    bundle = bundleFromJSON(json);
  } catch (error) {
    throw new OcidError("INVALID_ARGUMENT", `a bundle cannot be read: ${messageOf(error)}`, { cause: error });
  }
  if (bundle.content.$case !== "dsseEnvelope")
    throw new OcidError("PERMISSION_DENIED", "a bundle holds no statement about an image");
  const { payload, payloadType } = bundle.content.dsseEnvelope;
  const { content } = bundle.verificationMaterial;
  const certificates =
    content.$case === "certificate"
      ? [content.certificate]
      : content.$case === "x509CertificateChain"
        ? content.x509CertificateChain.certificates
        : [];
  const [certificate, ...chain] = certificates.map(({ rawBytes }) => new X509Certificate(rawBytes));
  return {
    entity: toSignedEntity(bundle),
    certificate,
    chain,
    payload: () => parseStatement(payload, payloadType),
  };
}

/** An in-toto statement that is a signature over one manifest; the name of its subject, if any, is what it calls it. */
function parseStatement(bytes: Uint8Array, payloadType: string): SignaturePayload {
  const denied = (why: string) => new OcidError("PERMISSION_DENIED", `a bundle's statement ${why}`);
  if (payloadType !== statementPayloadType) throw denied(`is of type ${JSON.stringify(payloadType)}`);
  const statement = new Fields(parseJsonObject(bytes, "statement", maxSignatureBytes), "statement");
  if (statement.string("_type") !== statementType) throw denied("is of another version");
  const predicate = statement.string("predicateType");
  if (predicate !== signPredicate)
    throw denied(`is no signature but ${JSON.stringify(predicate.slice(0, 100))}`);
  const subjects = statement.list("subject", 100);
  if (subjects.length !== 1) throw denied(`has ${subjects.length} subjects instead of one`);
  const subject = new Fields(subjects[0], "statement: subject");
  const digests = Object.entries(subject.stringMap("digest") ?? {});
  if (digests.length !== 1) throw denied(`has ${digests.length} digests instead of one`);
  const [[algorithm, hex]] = digests as [[string, string]];
  return {
    manifestDigest: parseDigest(`${algorithm}:${hex}`),
    reference: subject.optionalString("name") || undefined,
  };
}

function openAttached({
  payload,
  annotations,
}: Extract<ImageSignature, { kind: "sigstore" }>): SigstoreEntity {
  const text = annotations[signatureAnnotation];
  if (text === undefined) throw new OcidError("PERMISSION_DENIED", "it has no signature");
  const signature = Buffer.from(text, "base64");
  const isSignedDigest = (other: Buffer) =>
    sigstoreCrypto.bufferEqual(other, sigstoreCrypto.digest("sha256", Buffer.from(payload)));
  const [certificate, ...more] = parseCertificates(Buffer.from(annotations[certificateAnnotation] ?? ""));
  if (more.length > 0)
    throw new OcidError("INVALID_ARGUMENT", "a signature has several certificates of its signer");
  const entries = logEntries(annotations[bundleAnnotation]);
  return {
    entity: {
      signature: {
        signature,
        compareSignature: other => other.equals(signature),
        compareDigest: isSignedDigest,
        compareSignedDigest: isSignedDigest,
        verifySignature: key => isSignedBy(payload, signature, key),
      },
      key:
        certificate === undefined
          ? { $case: "public-key", hint: "" }
          : { $case: "certificate", certificate: SigstoreCertificate.parse(certificate.raw) },
      tlogEntries: entries,
      timestamps: entries.map(tlogEntry => ({ $case: "transparency-log", tlogEntry })),
    },
    certificate,
    chain: parseCertificates(Buffer.from(annotations[chainAnnotation] ?? "")),
    payload: () => parseSignaturePayload(payload, "cosign container image signature"),
  };
}

/** The log's entry and its promise, as cosign notes them beside a signature, in the form that bundles have. */
function logEntries(text: string | undefined): LogEntry[] {
  if (text === undefined) return [];
  const note = new Fields(parseJsonObject(Buffer.from(text), "log entry"), "log entry");
  const entry = new Fields(note.raw("Payload"), "log entry: Payload");
  const body = new Fields(
    parseJsonObject(Buffer.from(entry.string("body"), "base64"), "log entry: body"),
    "log entry: body",
  );
  return [
    TransparencyLogEntry.fromJSON({
      logIndex: String(entry.size("logIndex")),
      logId: { keyId: Buffer.from(entry.string("logID"), "hex").toString("base64") },
      kindVersion: { kind: body.string("kind"), version: body.string("apiVersion") },
      integratedTime: String(entry.size("integratedTime")),
      inclusionPromise: { signedEntryTimestamp: note.string("SignedEntryTimestamp") },
      canonicalizedBody: entry.string("body"),
    }) as LogEntry,
  ];
}

function isSignedBy(data: Uint8Array, signature: Uint8Array, key: KeyObject): boolean {
  try {
    // Ed25519 has its digest built in.
    return verify(key.asymmetricKeyType === "ed25519" ? null : "sha256", data, key, signature);
  } catch {
    return false;
  }
}
