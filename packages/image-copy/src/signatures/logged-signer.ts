import { createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import { OcidError } from "@ocid/base";
import { Fields, parseJsonObject } from "@ocid/spec";
import type { TransparencyLogEntry } from "@sigstore/bundle";

/**
 * Fails with PERMISSION_DENIED unless a log's entry names this signer: with one signature other keys can be made that
 * fit it as well, and theirs could be logged at any time. Entries of Rekor's first version; the verifier compares
 * everything else of them.
 */
export function checkLoggedSigner(
  { kindVersion, canonicalizedBody }: TransparencyLogEntry,
  signer: KeyObject,
): void {
  if (kindVersion.version !== "0.0.1") return;
  const body = new Fields(parseJsonObject(canonicalizedBody, "log entry: body"), "log entry: body");
  const spec = new Fields(body.raw("spec"), "log entry: spec");
  if (!keyOf(signerOf(kindVersion.kind, spec))?.equals(signer))
    throw new OcidError("PERMISSION_DENIED", "the log entry is of another key");
}

/** PEM of a key or certificate. */
function signerOf(kind: string, spec: Fields): string {
  if (kind === "hashedrekord") {
    const signature = new Fields(spec.raw("signature"), "log entry: signature");
    return new Fields(signature.raw("publicKey"), "log entry: publicKey").string("content");
  }
  if (kind === "dsse")
    return new Fields(spec.list("signatures", 1)[0], "log entry: signature").string("verifier");
  throw new OcidError("PERMISSION_DENIED", `the log entry is of kind ${kind}`);
}

function keyOf(base64: string): KeyObject | undefined {
  const pem = Buffer.from(base64, "base64");
  try {
    return pem.includes("BEGIN CERTIFICATE") ? new X509Certificate(pem).publicKey : createPublicKey(pem);
  } catch {
    return undefined;
  }
}
