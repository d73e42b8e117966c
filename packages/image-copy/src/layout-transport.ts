import { mkdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { KeyedLock, writeAtomic } from "@ocid/base";
import {
  type Descriptor,
  type Digest,
  digestAlgorithm,
  digestHex,
  parseManifest,
  verifyBytes,
  verifyStream,
} from "@ocid/spec";
import { hasBlobFile, writeBlobFile } from "./blob-file.ts";
import type { BlobDestination, ImageSource } from "./image-source.ts";
import { chooseEntry, layoutVersion, readLayoutIndex, withEntry } from "./layout-index.ts";
import { pathIdentity } from "./policy-scopes.ts";
import { readFilePieces } from "./read-file-pieces.ts";
import { readSmallFile } from "./small-file.ts";
import { readFileFrom } from "./spool.ts";
import { sweepBlobs } from "./sweep-blobs.ts";

const writingIndex = new KeyedLock();

/** An image of an OCI layout directory (image-spec, image-layout.md); without a tag the only one that it holds. */
export function createLayoutSource(directory: string, tag?: string): ImageSource {
  const name = layoutName(directory, tag);
  return {
    name,
    identity: pathIdentity("oci", directory, tag),
    async getManifest(digest) {
      const entry =
        digest === undefined ? chooseEntry(await readLayoutIndex(directory), tag, name) : undefined;
      const wanted = digest ?? entry!.digest;
      const bytes = await readSmallFile(blobPath(directory, wanted), `${wanted} of ${name}`);
      verifyBytes(bytes, { digest: wanted, size: entry?.size ?? bytes.byteLength });
      const mediaType = entry?.mediaType ?? parseManifest(bytes).mediaType;
      return { descriptor: { mediaType, digest: wanted, size: bytes.byteLength }, bytes };
    },
    openBlob(descriptor, { offset = 0, signal, verify = true } = {}) {
      const bytes = readFileFrom(blobPath(directory, descriptor.digest), offset, signal);
      return offset === 0 && verify ? verifyStream(bytes, descriptor) : bytes;
    },
    receiveBlob: (descriptor, options) => readFilePieces(blobPath(directory, descriptor.digest), options),
    blobSource: async ({ digest }) => ({ kind: "file", path: blobPath(directory, digest) }),
  };
}

/** Writes into an OCI layout directory, making it where it is missing. An image of the same tag gives way. */
export function createLayoutDestination(directory: string, tag?: string): BlobDestination {
  return {
    kind: "blobs",
    name: layoutName(directory, tag),
    layers: "compressed",
    format: "oci",
    hasBlob: descriptor => hasBlobFile(blobPath(directory, descriptor.digest), descriptor),
    putBlob: (descriptor, open, options) =>
      writeBlobFile(blobPath(directory, descriptor.digest), descriptor, open, options),
    async putManifest({ descriptor, bytes }, named) {
      const path = blobPath(directory, descriptor.digest);
      await mkdir(dirname(path), { recursive: true });
      // Each waits for the disk; only the index has to be last.
      await Promise.all([
        hasBlobFile(path, descriptor).then(has => (has ? undefined : writeAtomic(path, bytes, 0o644))),
        named ? writeAtomic(join(directory, "oci-layout"), layoutVersion, 0o644) : undefined,
      ]);
      if (named) await nameManifest(directory, descriptor, tag);
    },
  };
}

async function nameManifest(
  directory: string,
  descriptor: Descriptor,
  tag: string | undefined,
): Promise<void> {
  await writingIndex.run(resolve(directory), async () => {
    const index = withEntry(await readLayoutIndex(directory), descriptor, tag);
    await writeAtomic(join(directory, "index.json"), index, 0o644);
  });
}

/** Takes entries out of a layout's index, and the blobs that only they needed. Whoever copies into it must have ended. */
export async function removeFromLayout(
  directory: string,
  isUnwanted: (entry: Descriptor) => boolean,
): Promise<void> {
  await writingIndex.run(resolve(directory), async () => {
    const index = await readLayoutIndex(directory);
    const manifests = index.manifests.filter(entry => !isUnwanted(entry));
    if (manifests.length === index.manifests.length) return;
    await writeAtomic(join(directory, "index.json"), JSON.stringify({ ...index, manifests }), 0o644);
    await sweepBlobs(directory, manifests);
  });
}

function blobPath(directory: string, digest: Digest): string {
  return join(directory, "blobs", digestAlgorithm(digest), digestHex(digest));
}

function layoutName(directory: string, tag: string | undefined): string {
  return `oci:${directory}${tag === undefined ? "" : `:${tag}`}`;
}
