import { randomBytes } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { OcidError, wrapError, writeAtomic } from "@ocid/base";
import {
  choosePlatform,
  currentPlatform,
  type Descriptor,
  type Digest,
  digestAlgorithm,
  digestHex,
  type ImageIndex,
  maxManifestBytes,
  mediaTypes,
  parseManifest,
  verifyBytes,
  verifyStream,
} from "@ocid/spec";
import type { BlobDestination, ImageSource, ManifestBytes } from "./image-source.ts";

const refName = "org.opencontainers.image.ref.name";

/** An image of an OCI layout directory (image-spec, image-layout.md); without a tag the only one that it holds. */
export function createLayoutSource(directory: string, tag: string | undefined): ImageSource {
  const blob = (digest: Digest) => join(directory, "blobs", digestAlgorithm(digest), digestHex(digest));
  const read = (descriptor: Descriptor): ManifestBytes => {
    const bytes = readCappedFile(blob(descriptor.digest), `${descriptor.digest} of oci:${directory}`);
    verifyBytes(bytes, descriptor);
    return { descriptor, bytes };
  };
  return {
    name: `oci:${directory}${tag === undefined ? "" : `:${tag}`}`,
    async getManifest(digest) {
      if (digest === undefined) return read(chooseEntry(readIndex(directory), tag, directory));
      const bytes = readCappedFile(blob(digest), `${digest} of oci:${directory}`);
      verifyBytes(bytes, { digest, size: bytes.byteLength });
      return {
        descriptor: { mediaType: parseManifest(bytes).mediaType, digest, size: bytes.byteLength },
        bytes,
      };
    },
    openBlob: descriptor =>
      verifyStream(createReadStream(blob(descriptor.digest), { highWaterMark: 1024 * 1024 }), descriptor),
    blobSource: async descriptor => ({ kind: "file", path: blob(descriptor.digest) }),
  };
}

/** Writes into an OCI layout directory, making it where it is missing. An image of the same tag gives way. */
export function createLayoutDestination(directory: string, tag: string | undefined): BlobDestination {
  const blob = (digest: Digest) => join(directory, "blobs", digestAlgorithm(digest), digestHex(digest));
  const hasBlob = async (descriptor: Descriptor) =>
    existsSync(blob(descriptor.digest)) && statSync(blob(descriptor.digest)).size === descriptor.size;
  return {
    kind: "blobs",
    name: `oci:${directory}${tag === undefined ? "" : `:${tag}`}`,
    hasBlob,
    async putBlob(descriptor, openSource) {
      if (await hasBlob(descriptor)) return false;
      const target = blob(descriptor.digest);
      mkdirSync(join(target, ".."), { recursive: true });
      await writeVerified(target, verifyStream(openSource(), descriptor));
      return true;
    },
    async putManifest({ descriptor, bytes }, named) {
      const target = blob(descriptor.digest);
      mkdirSync(join(target, ".."), { recursive: true });
      if (!existsSync(target)) await writeAtomic(target, bytes, 0o644);
      if (!named) return;
      await writeAtomic(join(directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}', 0o644);
      const index = existsSync(join(directory, "index.json")) ? readIndex(directory) : { manifests: [] };
      const others = index.manifests.filter(entry =>
        tag === undefined ? entry.digest !== descriptor.digest : entry.annotations?.[refName] !== tag,
      );
      const entry = {
        mediaType: descriptor.mediaType,
        digest: descriptor.digest,
        size: descriptor.size,
        ...(tag === undefined ? {} : { annotations: { [refName]: tag } }),
      };
      await writeAtomic(
        join(directory, "index.json"),
        JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [...others, entry] }),
        0o644,
      );
    },
  };
}

/** Writes a stream to a temporary name beside the target and renames it when it has proved right. */
export async function writeVerified(target: string, source: AsyncIterable<Uint8Array>): Promise<void> {
  const temporary = `${target}.tmp-${randomBytes(5).toString("hex")}`;
  const file = await open(temporary, "wx", 0o644);
  try {
    for await (const chunk of source) await file.write(chunk);
    await file.datasync();
    await file.close();
    renameSync(temporary, target);
  } catch (error) {
    await file.close().catch(() => {});
    rmSync(temporary, { force: true });
    throw error;
  }
}

function readIndex(directory: string): Pick<ImageIndex, "manifests"> {
  const path = join(directory, "index.json");
  const parsed = parseManifest(readCappedFile(path, path), mediaTypes.ociIndex);
  if (parsed.kind !== "index") throw new OcidError("INVALID_ARGUMENT", `${path} is not an index`);
  return parsed.index;
}

function chooseEntry(
  { manifests }: Pick<ImageIndex, "manifests">,
  tag: string | undefined,
  directory: string,
): Descriptor {
  const named =
    tag === undefined ? manifests : manifests.filter(entry => entry.annotations?.[refName] === tag);
  if (named.length === 1) return named[0]!;
  const names = manifests.map(entry => entry.annotations?.[refName] ?? entry.digest).join(", ");
  if (named.length === 0)
    throw new OcidError(
      "NOT_FOUND",
      `oci:${directory} has no image ${tag ?? ""} (it has ${names || "none"})`,
    );
  if (named.every(entry => entry.platform))
    return choosePlatform({ schemaVersion: 2, manifests: named }, currentPlatform());
  throw new OcidError("INVALID_ARGUMENT", `oci:${directory} has several images; name one of ${names}`);
}

/** Reads a small file that came from outside. */
export function readCappedFile(path: string, what: string): Buffer {
  try {
    const { size } = statSync(path);
    if (size > maxManifestBytes)
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `${what} has ${size} bytes, more than the limit of ${maxManifestBytes}`,
      );
    return readFileSync(path);
  } catch (error) {
    throw wrapError(what, error);
  }
}
