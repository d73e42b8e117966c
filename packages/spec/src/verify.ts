import { createHash } from "node:crypto";
import { OcidError } from "@ocid/base";
import { type Digest, digestAlgorithm, digestBytes, finishDigest } from "./digest.ts";

/** What content must be to be accepted. */
export interface Expected {
  readonly digest: Digest;
  readonly size: number;
}

/** Fails with DATA_LOSS unless the bytes have the size and digest that were promised. */
export function verifyBytes(bytes: Uint8Array, expected: Expected): void {
  if (bytes.byteLength !== expected.size) throw wrongSize(expected, bytes.byteLength);
  const digest = digestBytes(bytes, digestAlgorithm(expected.digest));
  if (digest !== expected.digest) throw wrongDigest(expected.digest, digest);
}

/**
 * Passes a stream on while checking it: fails with DATA_LOSS at the first byte too many, at an end that comes too
 * early, and at the end if the digest differs. Nothing of it may be published before it has ended.
 */
export async function* verifyStream(
  source: AsyncIterable<Uint8Array>,
  expected: Expected,
): AsyncGenerator<Uint8Array, void, undefined> {
  const algorithm = digestAlgorithm(expected.digest);
  const hash = createHash(algorithm);
  let size = 0;
  for await (const chunk of source) {
    size += chunk.byteLength;
    if (size > expected.size) throw wrongSize(expected, `at least ${size}`);
    hash.update(chunk);
    yield chunk;
  }
  if (size !== expected.size) throw wrongSize(expected, size);
  const digest = finishDigest(hash, algorithm);
  if (digest !== expected.digest) throw wrongDigest(expected.digest, digest);
}

function wrongSize(expected: Expected, found: number | string): OcidError {
  return new OcidError(
    "DATA_LOSS",
    `${expected.digest}: expected ${expected.size} bytes, received ${found}`,
    { reason: "SizeMismatch" },
  );
}

function wrongDigest(expected: Digest, found: Digest): OcidError {
  return new OcidError("DATA_LOSS", `expected content with digest ${expected}, received ${found}`, {
    reason: "DigestMismatch",
  });
}
