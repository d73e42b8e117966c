import { createHash } from "node:crypto";
import { OcidError } from "@ocid/base";
import { type DiffId, digestAlgorithm, finishDigest } from "@ocid/spec";

/** Passes a layer's uncompressed tar on; fails at its end with DATA_LOSS if it is not what the config promises. */
export async function* checkDiffId(
  tar: AsyncIterable<Uint8Array>,
  diffId: DiffId,
): AsyncGenerator<Uint8Array, void, undefined> {
  const algorithm = digestAlgorithm(diffId);
  const hash = createHash(algorithm);
  for await (const chunk of tar) {
    hash.update(chunk);
    yield chunk;
  }
  const found = finishDigest(hash, algorithm);
  if (found !== diffId)
    throw new OcidError("DATA_LOSS", `the config promises a layer with diffID ${diffId}, found ${found}`, {
      reason: "DigestMismatch",
    });
}
