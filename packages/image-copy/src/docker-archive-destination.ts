import { stat } from "node:fs/promises";
import { OcidError } from "@ocid/base";
import {
  type Descriptor,
  type Digest,
  digestHex,
  formatReference,
  parseManifest,
  type Reference,
  referenceName,
  verifyStream,
} from "@ocid/spec";
import { isImageConfig } from "./convert-manifest.ts";
import type { BlobDestination } from "./image-source.ts";
import { TarFileWriter } from "./tar-file-writer.ts";

/** Writes a tar that `docker load` reads, with any number of images; layers that they share are in it once. */
export interface DockerArchiveWriter extends AsyncDisposable {
  /** The place of one more image, named where a reference with a tag is given. */
  image(reference?: Reference): BlobDestination;
  /** Publishes the archive; what exists under its name is not replaced. */
  commit(): Promise<void>;
}

/** Dispose of it; without `commit` nothing is left. */
export function createDockerArchiveWriter(path: string): DockerArchiveWriter {
  const tar = new TarFileWriter(path);
  const written = new Set<string>();
  const images: object[] = [];
  const add = async (name: string, size: number, content: AsyncIterable<Uint8Array> | Uint8Array) => {
    await tar.add(name, size, content);
    written.add(name);
  };
  return {
    image: reference => ({
      kind: "blobs",
      name: archiveName(path, reference),
      layers: "plain",
      format: "docker",
      holdsOtherFormats: false,
      holdsIndexes: false,
      async hasBlob(descriptor) {
        await refuseExisting(path);
        return written.has(memberName(descriptor));
      },
      async putBlob(descriptor, open) {
        await add(memberName(descriptor), descriptor.size, verifyStream(open(), descriptor));
        return true;
      },
      async putManifest({ bytes, descriptor }) {
        const parsed = parseManifest(bytes, descriptor.mediaType);
        if (parsed.kind !== "image")
          throw new OcidError("INVALID_ARGUMENT", `${archiveName(path, reference)} cannot hold an index`);
        images.push({
          Config: configName(parsed.manifest.config.digest),
          RepoTags: reference?.tag === undefined ? [] : [formatReference(withoutDigest(reference))],
          Layers: parsed.manifest.layers.map(memberName),
        });
      },
    }),
    async commit() {
      if (images.length === 0)
        throw new OcidError("FAILED_PRECONDITION", `${archiveName(path)} has got no image`);
      const list = Buffer.from(JSON.stringify(images));
      await tar.add("manifest.json", list.byteLength, list);
      await refuseExisting(path);
      await tar.commit();
    },
    [Symbol.asyncDispose]: () => tar[Symbol.asyncDispose](),
  };
}

/** The same for an archive of one image. */
export function createDockerArchiveDestination(
  path: string,
  reference?: Reference,
): BlobDestination & AsyncDisposable {
  const writer = createDockerArchiveWriter(path);
  return {
    ...writer.image(reference),
    commit: () => writer.commit(),
    [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
  };
}

async function refuseExisting(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found)
    throw new OcidError("ALREADY_EXISTS", `${path} exists; remove it, or give the archive another name`);
}

function memberName(descriptor: Descriptor): string {
  return isImageConfig(descriptor.mediaType)
    ? configName(descriptor.digest)
    : `${digestHex(descriptor.digest)}.tar`;
}

function configName(digest: Digest): string {
  return `${digestHex(digest)}.json`;
}

function withoutDigest({ registry, repository, tag }: Reference): Reference {
  return { registry, repository, ...(tag === undefined ? {} : { tag }) };
}

function archiveName(path: string, reference?: Reference): string {
  return `docker-archive:${path}${
    reference === undefined
      ? ""
      : `:${referenceName(reference)}${reference.tag === undefined ? "" : `:${reference.tag}`}`
  }`;
}
