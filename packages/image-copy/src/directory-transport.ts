import { createReadStream, existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { writeAtomic } from "@ocid/base";
import {
  type Descriptor,
  type Digest,
  digestBytes,
  digestHex,
  parseManifest,
  verifyBytes,
  verifyStream,
} from "@ocid/spec";
import type { BlobDestination, ImageSource, ManifestBytes } from "./image-source.ts";
import { readCappedFile, writeVerified } from "./layout-transport.ts";

/** An image of a plain directory: `manifest.json` and blobs by the hex of their digest, as skopeo's `dir:` has it. */
export function createDirectorySource(directory: string): ImageSource {
  const blob = (digest: Digest) => join(directory, digestHex(digest));
  return {
    name: `dir:${directory}`,
    async getManifest(digest): Promise<ManifestBytes> {
      const own = join(directory, "manifest.json");
      const instance = digest === undefined ? own : join(directory, `${digestHex(digest)}.manifest.json`);
      let bytes = readCappedFile(digest !== undefined && !existsSync(instance) ? own : instance, instance);
      if (digest !== undefined) verifyBytes(bytes, { digest, size: bytes.byteLength });
      bytes = Buffer.from(bytes);
      return {
        descriptor: {
          mediaType: parseManifest(bytes).mediaType,
          digest: digest ?? digestBytes(bytes),
          size: bytes.byteLength,
        },
        bytes,
      };
    },
    openBlob: descriptor =>
      verifyStream(createReadStream(blob(descriptor.digest), { highWaterMark: 1024 * 1024 }), descriptor),
    blobSource: async descriptor => ({ kind: "file", path: blob(descriptor.digest) }),
  };
}

export function createDirectoryDestination(directory: string): BlobDestination {
  const blob = (digest: Digest) => join(directory, digestHex(digest));
  const hasBlob = async (descriptor: Descriptor) =>
    existsSync(blob(descriptor.digest)) && statSync(blob(descriptor.digest)).size === descriptor.size;
  return {
    kind: "blobs",
    name: `dir:${directory}`,
    hasBlob,
    async putBlob(descriptor, open) {
      if (await hasBlob(descriptor)) return false;
      mkdirSync(directory, { recursive: true });
      await writeVerified(blob(descriptor.digest), verifyStream(open(), descriptor));
      return true;
    },
    async putManifest({ descriptor, bytes }, named) {
      mkdirSync(directory, { recursive: true });
      await writeAtomic(
        join(directory, named ? "manifest.json" : `${digestHex(descriptor.digest)}.manifest.json`),
        bytes,
        0o644,
      );
      if (named) await writeAtomic(join(directory, "version"), "Directory Transport Version: 1.1\n", 0o644);
    },
  };
}
