import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomic } from "@ocid/base";
import { type Digest, digestHex } from "@ocid/spec";
import { formatSignatureFile, type ImageSignature } from "./image-signature.ts";
import { readIfThere, readNumbered } from "./lookaside.ts";

/** Signatures of manifests in a directory: `<hex>/signature-1`, `<hex>/signature-2` … */
export async function writeSignatures(
  directory: string,
  digest: Digest,
  signatures: readonly ImageSignature[],
): Promise<void> {
  if (signatures.length === 0) return;
  const place = join(directory, digestHex(digest));
  await mkdir(place, { recursive: true });
  for (const [at, signature] of signatures.entries())
    await writeAtomic(join(place, `signature-${at + 1}`), formatSignatureFile(signature), 0o644);
}

export async function readSignatures(directory: string, digest: Digest): Promise<readonly ImageSignature[]> {
  return await readNumbered(number => readIfThere(join(directory, digestHex(digest), `signature-${number}`)));
}

/** Removes the signatures of manifests that are not among those. */
export async function sweepSignatures(directory: string, kept: readonly Digest[]): Promise<void> {
  const wanted = new Set<string>(kept.map(digestHex));
  for (const name of await readdir(directory).catch(() => []))
    if (!wanted.has(name)) await rm(join(directory, name), { recursive: true, force: true });
}
