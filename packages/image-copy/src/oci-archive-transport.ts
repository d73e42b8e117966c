import { OcidError } from "@ocid/base";
import {
  type Descriptor,
  type Digest,
  digestAlgorithm,
  digestHex,
  parseManifest,
  verifyBytes,
  verifyStream,
} from "@ocid/spec";
import { ArchiveFile } from "./archive-file.ts";
import type { BlobDestination, CallOptions, ImageSource } from "./image-source.ts";
import { chooseEntry, layoutVersion, parseLayoutIndex, withEntry } from "./layout-index.ts";
import { pathIdentity } from "./policy-scopes.ts";
import { TarFileWriter } from "./tar-file-writer.ts";

/** An image of an OCI layout in a tar, compressed or not. Dispose of it: a compressed archive is unpacked beside. */
export async function openOciArchiveSource(
  path: string,
  tag?: string,
  options: CallOptions = {},
): Promise<ImageSource & AsyncDisposable> {
  const name = archiveName(path, tag);
  const archive = await ArchiveFile.open(path, name, options);
  return {
    name,
    identity: pathIdentity("oci-archive", path, tag),
    async getManifest(digest) {
      const entry =
        digest === undefined
          ? chooseEntry(parseLayoutIndex(await archive.readSmall("index.json"), name), tag, name)
          : undefined;
      const wanted = digest ?? entry!.digest;
      const bytes = await archive.readSmall(memberName(wanted));
      verifyBytes(bytes, { digest: wanted, size: entry?.size ?? bytes.byteLength });
      const mediaType = entry?.mediaType ?? parseManifest(bytes).mediaType;
      return { descriptor: { mediaType, digest: wanted, size: bytes.byteLength }, bytes };
    },
    openBlob(descriptor, { offset = 0, signal, verify = true } = {}) {
      const bytes = archive.read(archive.get(memberName(descriptor.digest)), offset, signal);
      return offset === 0 && verify ? verifyStream(bytes, descriptor) : bytes;
    },
    async blobSource(descriptor) {
      const { offset, size } = archive.get(memberName(descriptor.digest));
      if (size !== descriptor.size)
        throw new OcidError(
          "DATA_LOSS",
          `${descriptor.digest} of ${name} has ${size} bytes, expected ${descriptor.size}`,
        );
      return { kind: "file", path: archive.path, offset };
    },
    [Symbol.asyncDispose]: () => archive[Symbol.asyncDispose](),
  };
}

/** Writes an OCI layout into a tar, which replaces what is there once it is complete. Dispose of it. */
export function createOciArchiveDestination(path: string, tag?: string): BlobDestination & AsyncDisposable {
  const tar = new TarFileWriter(path);
  const written = new Set<Digest>();
  let index: Uint8Array | undefined;
  return {
    kind: "blobs",
    name: archiveName(path, tag),
    layers: "compressed",
    format: "oci",
    hasBlob: async ({ digest }: Descriptor) => written.has(digest),
    async putBlob(descriptor, open) {
      await tar.add(memberName(descriptor.digest), descriptor.size, verifyStream(open(), descriptor));
      written.add(descriptor.digest);
      return true;
    },
    async putManifest({ descriptor, bytes }, named) {
      if (!written.has(descriptor.digest))
        await tar.add(memberName(descriptor.digest), bytes.byteLength, bytes);
      written.add(descriptor.digest);
      if (named) index = withEntry({ manifests: [] }, descriptor, tag);
    },
    async commit() {
      if (index === undefined)
        throw new OcidError("FAILED_PRECONDITION", `${archiveName(path, tag)} has got no image`);
      const version = Buffer.from(layoutVersion);
      await tar.add("oci-layout", version.byteLength, version);
      await tar.add("index.json", index.byteLength, index);
      await tar.commit();
    },
    [Symbol.asyncDispose]: () => tar[Symbol.asyncDispose](),
  };
}

function memberName(digest: Digest): string {
  return `blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`;
}

function archiveName(path: string, tag: string | undefined): string {
  return `oci-archive:${path}${tag === undefined ? "" : `:${tag}`}`;
}
