import { OcidError } from "@ocid/base";
import { Fields, parseJsonObject } from "@ocid/spec";

/** A signature as places keep it; nothing of it is believed before it is verified. */
export type ImageSignature =
  /** An OpenPGP message with the payload in it (containers-signature(5)). */
  | { readonly kind: "simple"; readonly message: Uint8Array }
  /** A payload with its signature beside it, as cosign attaches it. */
  | {
      readonly kind: "sigstore";
      readonly payload: Uint8Array;
      /** Signature, certificate, transparency log entry, by cosign's names. */
      readonly annotations: Readonly<Record<string, string>>;
    };

/** Longer ones are not signatures. */
export const maxSignatureBytes: number = 4 * 1024 * 1024;

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
  return {
    kind: "sigstore",
    payload: Buffer.from(fields.string("payload"), "base64"),
    annotations: fields.stringMap("annotations") ?? {},
  };
}
