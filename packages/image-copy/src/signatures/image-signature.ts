import { OcidError } from "@ocid/base";
import { Fields, parseJsonObject } from "@ocid/spec";

/** A signature as places keep it; nothing of it is believed before it is verified. */
export type ImageSignature =
  /** An OpenPGP message with the payload in it (containers-signature(5)). */
  | { readonly kind: "simple"; readonly message: Uint8Array }
  /** A payload with its signature beside it, as cosign attaches it under the tag `sha256-<hex>.sig`. */
  | {
      readonly kind: "sigstore";
      readonly payload: Uint8Array;
      /** Signature, certificate, transparency log entry, by cosign's names. */
      readonly annotations: Readonly<Record<string, string>>;
    }
  /** A bundle of sigstore's (v0.3 and before): statement, signature, certificate and log entry in one JSON document. */
  | { readonly kind: "bundle"; readonly document: Uint8Array };

/** Longer ones are not signatures. */
export const maxSignatureBytes: number = 4 * 1024 * 1024;

/** Of one manifest; more are not read. */
export const maxSignatures = 128;

export const payloadType = "application/vnd.dev.cosign.simplesigning.v1+json";
export const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json";

/** Whether a media or artifact type is that of a bundle, of whichever version. */
export function isBundleType(type: string): boolean {
  return type.startsWith("application/vnd.dev.sigstore.bundle");
}

/** Reads a signature of a file: raw OpenPGP, or `00 <format> 0a <data>`. Undefined for a format that nobody here knows. */
export function parseSignatureFile(bytes: Uint8Array): ImageSignature | undefined {
  if (bytes[0] !== 0) return { kind: "simple", message: bytes };
  const end = bytes.indexOf(0x0a);
  if (end === -1) throw new OcidError("INVALID_ARGUMENT", "signature has no format");
  const format = Buffer.from(bytes.subarray(1, end)).toString("latin1");
  const data = bytes.subarray(end + 1);
  if (format === "simple-signing") return { kind: "simple", message: data };
  if (format !== "sigstore-json") return undefined;
  const fields = new Fields(parseJsonObject(data, "signature", maxSignatureBytes), "signature");
  const payload = Buffer.from(fields.string("payload"), "base64");
  if (isBundleType(fields.optionalString("mimeType") ?? payloadType))
    return { kind: "bundle", document: payload };
  return { kind: "sigstore", payload, annotations: fields.stringMap("annotations") ?? {} };
}

/**
 * A signature as a file, as the other containers tools keep it. A bundle goes as an attachment of its own media type,
 * which those tools pass over.
 */
export function formatSignatureFile(signature: ImageSignature): Uint8Array {
  if (signature.kind === "simple") return signature.message;
  const [mimeType, payload, annotations] =
    signature.kind === "bundle"
      ? [bundleType, signature.document, {}]
      : [payloadType, signature.payload, signature.annotations];
  const json = JSON.stringify({ mimeType, payload: Buffer.from(payload).toString("base64"), annotations });
  return Buffer.from(`\0sigstore-json\n${json}`);
}
