import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isOcidError, writeAtomic } from "@ocid/base";
import { type Digest, digestBytes, digestHex, parseManifest, verifyBytes, verifyStream } from "@ocid/spec";
import { hasBlobFile, writeBlobFile } from "./blob-file.ts";
import type { BlobDestination, ImageSource } from "./image-source.ts";
import { pathIdentity } from "./policy-scopes.ts";
import { readFilePieces } from "./read-file-pieces.ts";
import { readIfThere, readNumbered } from "./signatures/lookaside.ts";
import { readSmallFile } from "./small-file.ts";
import { readFileFrom } from "./spool.ts";

/** An image of a plain directory: `manifest.json`, and blobs by the hex of their digest, as other tools' `dir:` has it. */
export function createDirectorySource(directory: string): ImageSource {
  const name = `dir:${directory}`;
  const blob = (digest: Digest) => join(directory, digestHex(digest));
  return {
    name,
    identity: pathIdentity("dir", directory),
    async getManifest(digest) {
      const bytes = await readInstance(directory, digest, name);
      if (digest !== undefined) verifyBytes(bytes, { digest, size: bytes.byteLength });
      return {
        descriptor: {
          mediaType: parseManifest(bytes).mediaType,
          digest: digest ?? digestBytes(bytes),
          size: bytes.byteLength,
        },
        bytes,
      };
    },
    async getSignatures(digest) {
      const isTop = digest === digestBytes(await readInstance(directory, undefined, name));
      const prefix = isTop ? "" : `${digestHex(digest)}.`;
      return await readNumbered(number => readIfThere(join(directory, `${prefix}signature-${number}`)));
    },
    openBlob(descriptor, { offset = 0, signal, verify = true } = {}) {
      const bytes = readFileFrom(blob(descriptor.digest), offset, signal);
      return offset === 0 && verify ? verifyStream(bytes, descriptor) : bytes;
    },
    receiveBlob: (descriptor, options) => readFilePieces(blob(descriptor.digest), options),
    blobSource: async ({ digest }) => ({ kind: "file", path: blob(digest) }),
  };
}

export function createDirectoryDestination(directory: string): BlobDestination {
  const blob = (digest: Digest) => join(directory, digestHex(digest));
  return {
    kind: "blobs",
    name: `dir:${directory}`,
    hasBlob: descriptor => hasBlobFile(blob(descriptor.digest), descriptor),
    putBlob: (descriptor, open, options) => writeBlobFile(blob(descriptor.digest), descriptor, open, options),
    async putManifest({ descriptor, bytes }, named) {
      await mkdir(directory, { recursive: true });
      const file = named ? "manifest.json" : `${digestHex(descriptor.digest)}.manifest.json`;
      await writeAtomic(join(directory, file), bytes, 0o644);
      if (named) await writeAtomic(join(directory, "version"), "Directory Transport Version: 1.1\n", 0o644);
    },
  };
}

/** The image of a digest lies beside the index, or is the directory's only one. */
async function readInstance(
  directory: string,
  digest: Digest | undefined,
  name: string,
): Promise<Uint8Array> {
  if (digest !== undefined) {
    try {
      return await readSmallFile(
        join(directory, `${digestHex(digest)}.manifest.json`),
        `${digest} of ${name}`,
      );
    } catch (error) {
      if (!isOcidError(error, "NOT_FOUND")) throw error;
    }
  }
  return await readSmallFile(join(directory, "manifest.json"), `the manifest of ${name}`);
}
