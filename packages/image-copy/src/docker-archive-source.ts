import { createHash } from "node:crypto";
import { OcidError } from "@ocid/base";
import { type Compression, detectCompression } from "@ocid/layer";
import {
  type Descriptor,
  type DiffId,
  digestBytes,
  Fields,
  finishDigest,
  formatReference,
  mediaTypes,
  parseImageConfig,
  parseReference,
  verifyStream,
} from "@ocid/spec";
import { ArchiveFile } from "./archive-file.ts";
import type { CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";
import { pathIdentity } from "./policy-scopes.ts";
import type { TarMember } from "./tar-index.ts";

interface ArchivedImage {
  readonly config: string;
  readonly repoTags: readonly string[];
  readonly layers: readonly string[];
}

/**
 * An image of a tar as `docker save` writes it, by its name or its place; without either the only one. The archive has
 * no manifest, so one is made up, of plain layers named by their diffIDs. Dispose of it.
 */
export async function openDockerArchiveSource(
  path: string,
  image?: string | number,
  options: CallOptions = {},
): Promise<ImageSource & AsyncDisposable> {
  const name = `docker-archive:${path}${image === undefined ? "" : `:${typeof image === "number" ? "@" : ""}${image}`}`;
  const archive = await ArchiveFile.open(path, name, options);
  try {
    const chosen = chooseImage(parseImages(await archive.readSmall("manifest.json"), name), image, name);
    const config = await archive.readSmall(chosen.config);
    const blobs = await describeLayers(archive, chosen, config, name, options);
    const manifest = makeManifest(config, blobs);
    const members = new Map(blobs.map(({ descriptor, member }) => [descriptor.digest, member]));
    const memberOf = (descriptor: Descriptor): TarMember => {
      const member = members.get(descriptor.digest);
      if (!member) throw new OcidError("NOT_FOUND", `${name} has no layer ${descriptor.digest}`);
      return member;
    };
    const configDigest = digestBytes(config);
    return {
      name,
      identity: pathIdentity("docker-archive", path, typeof image === "string" ? image : undefined),
      madeUp: true,
      async getManifest(digest) {
        if (digest !== undefined && digest !== manifest.descriptor.digest)
          throw new OcidError("NOT_FOUND", `${name} has no manifest ${digest}`);
        return manifest;
      },
      openBlob(descriptor, { offset = 0, signal } = {}) {
        if (descriptor.digest === configDigest) return bytesFrom(config, offset);
        const bytes = archive.read(memberOf(descriptor), offset, signal);
        return offset === 0 ? verifyStream(bytes, descriptor) : bytes;
      },
      blobSource: async descriptor => ({
        kind: "file",
        path: archive.path,
        offset: memberOf(descriptor).offset,
      }),
      [Symbol.asyncDispose]: () => archive[Symbol.asyncDispose](),
    };
  } catch (error) {
    await archive[Symbol.asyncDispose]();
    throw error;
  }
}

/** Names of the images in an archive, one list each; images without a name have an empty one. */
export async function listDockerArchive(
  path: string,
  options: CallOptions = {},
): Promise<readonly (readonly string[])[]> {
  const name = `docker-archive:${path}`;
  await using archive = await ArchiveFile.open(path, name, options);
  return parseImages(await archive.readSmall("manifest.json"), name).map(image => image.repoTags);
}

function parseImages(bytes: Uint8Array, name: string): readonly ArchivedImage[] {
  // The document is a list, so it is read as a field of an object, with that reader's checks.
  const what = `manifest.json of ${name}`;
  const document = new Fields({ images: parseList(bytes, what) }, what);
  return document.list("images", 1_000).map((item, at) => {
    const fields = new Fields(item, `${what}: image ${at + 1}`);
    return {
      config: fields.string("Config"),
      repoTags: fields.strings("RepoTags") ?? [],
      layers: fields.strings("Layers") ?? [],
    };
  });
}

function parseList(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new OcidError("INVALID_ARGUMENT", `${what} is not JSON`, { cause: error });
  }
}

function chooseImage(
  images: readonly ArchivedImage[],
  wanted: string | number | undefined,
  name: string,
): ArchivedImage {
  const names = images.map((image, at) => image.repoTags[0] ?? `@${at}`).join(", ") || "none";
  if (wanted === undefined) {
    if (images.length === 1) return images[0]!;
    throw new OcidError("INVALID_ARGUMENT", `${name} has ${images.length} images; name one of ${names}`);
  }
  const full = typeof wanted === "string" ? formatReference(parseReference(wanted)) : undefined;
  const found =
    typeof wanted === "number"
      ? images[wanted]
      : images.find(image => image.repoTags.some(tag => formatReference(parseReference(tag)) === full));
  if (!found) throw new OcidError("NOT_FOUND", `${name} is not in the archive (it has ${names})`);
  return found;
}

interface ArchivedLayer {
  readonly descriptor: Descriptor;
  readonly member: TarMember;
}

async function describeLayers(
  archive: ArchiveFile,
  image: ArchivedImage,
  config: Uint8Array,
  name: string,
  options: CallOptions,
): Promise<readonly ArchivedLayer[]> {
  const stack = parseImageConfig(config).rootfs.diff_ids;
  if (stack.length !== image.layers.length)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${name} has ${image.layers.length} layers, but its config names ${stack.length}`,
    );
  const found: ArchivedLayer[] = [];
  for (const [at, layer] of image.layers.entries())
    found.push(await describeLayer(archive, archive.get(layer), stack[at]!, options));
  return found;
}

/** Some tools put compressed layers into such archives; their digests must be found out. */
async function describeLayer(
  archive: ArchiveFile,
  member: TarMember,
  diffId: DiffId,
  { signal }: CallOptions,
): Promise<ArchivedLayer> {
  const compression = await compressionOf(archive, member);
  if (compression === "none")
    return { member, descriptor: { mediaType: mediaTypes.dockerLayer, digest: diffId, size: member.size } };
  const hash = createHash("sha256");
  for await (const chunk of archive.read(member, 0, signal)) hash.update(chunk);
  const mediaType = compression === "zstd" ? mediaTypes.dockerLayerZstd : mediaTypes.dockerLayerGzip;
  return { member, descriptor: { mediaType, digest: finishDigest(hash), size: member.size } };
}

async function compressionOf(archive: ArchiveFile, member: TarMember): Promise<Compression> {
  for await (const chunk of archive.read({ offset: member.offset, size: Math.min(6, member.size) }))
    return detectCompression(chunk);
  return "none";
}

function makeManifest(config: Uint8Array, layers: readonly ArchivedLayer[]): ManifestBytes {
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifest,
      config: { mediaType: mediaTypes.dockerConfig, size: config.byteLength, digest: digestBytes(config) },
      layers: layers.map(({ descriptor }) => descriptor),
    }),
  );
  return {
    descriptor: { mediaType: mediaTypes.dockerManifest, digest: digestBytes(bytes), size: bytes.byteLength },
    bytes,
  };
}

async function* bytesFrom(bytes: Uint8Array, offset: number): AsyncGenerator<Uint8Array, void, undefined> {
  if (offset < bytes.byteLength) yield bytes.subarray(offset);
}
