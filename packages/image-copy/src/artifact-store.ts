import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import {
  type Descriptor,
  type Digest,
  digestAlgorithm,
  digestHex,
  type ImageManifest,
  parseManifest,
  parseReference,
  verifyBytes,
} from "@ocid/spec";
import { type CopyOptions, copyImage } from "./copy-image.ts";
import type { CallOptions, ImageSource } from "./image-source.ts";
import { readLayoutIndex } from "./layout-index.ts";
import { createLayoutDestination, createLayoutSource, removeFromLayout } from "./layout-transport.ts";
import type { ImagePolicy } from "./policy.ts";
import { registryIdentity } from "./policy-scopes.ts";
import { rememberSignatures } from "./signatures/remember-signatures.ts";
import { readSignatures, sweepSignatures, writeSignatures } from "./signatures/signature-directory.ts";
import { uniqueSignatures } from "./signatures/stored-signatures.ts";
import { readSmallFile } from "./small-file.ts";

/** An artifact that is kept here: a manifest that is no image to run, and its blobs as they are. */
export interface StoredArtifact {
  /** `registry/repository:tag` or `…@digest`, by which it was fetched. */
  readonly name: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly files: readonly ArtifactFile[];
}

export interface ArtifactFile {
  /** The title that its layer has (image-spec, annotations.md), or its digest. Relative, without `..`. */
  readonly title: string;
  /** Where its bytes lie. */
  readonly path: string;
}

export interface ArtifactStore {
  list(): Promise<readonly StoredArtifact[]>;
  /** Copies one in; one of the same name gives way. INVALID_ARGUMENT when its files cannot lie in a directory. */
  put(
    source: ImageSource,
    name: string,
    options?: CallOptions & Pick<CopyOptions, "onProgress" | "policy">,
  ): Promise<StoredArtifact>;
  /** Fails with PERMISSION_DENIED unless the policy lets the artifact of this name be used; asks no registry. */
  admit(name: string, policy: ImagePolicy, options?: CallOptions): Promise<void>;
  /** Takes names away and what then belongs to none; unknown ones are no error. */
  remove(names: readonly string[]): Promise<void>;
}

const titleAnnotation = "org.opencontainers.image.title";
const nameAnnotation = "org.opencontainers.image.ref.name";

/** Artifacts in an OCI layout, each named in its index: the form in which Podman keeps them below a graph root. */
export function createArtifactStore(directory: string): ArtifactStore {
  const signatures = join(directory, "signatures");
  const read = (entry: Descriptor) => readArtifact(directory, entry);
  const named = async () =>
    (await readLayoutIndex(directory)).manifests.filter(
      entry => entry.annotations?.[nameAnnotation] !== undefined,
    );
  return {
    async list() {
      // What another program has put here and cannot be used must not hide the rest.
      const artifacts = (await named()).map(entry => read(entry).catch(() => undefined));
      return (await Promise.all(artifacts)).filter(artifact => artifact !== undefined);
    },
    async put(source, name, options = {}) {
      const remembering = rememberSignatures(source);
      const { digest } = await copyImage(remembering, createLayoutDestination(directory, name), options);
      const found = await remembering.getSignatures?.(digest, options).catch(() => []);
      await writeSignatures(signatures, digest, uniqueSignatures(found ?? []));
      const entry = (await named()).find(candidate => candidate.annotations?.[nameAnnotation] === name);
      if (!entry) throw new OcidError("ABORTED", `artifact ${name} was removed while it was fetched`);
      const artifact = await read(entry).catch(async error => {
        await removeFromLayout(directory, candidate => candidate.annotations?.[nameAnnotation] === name);
        throw error;
      });
      // Containers of any user read them; who may reach them is the directory's business.
      for (const { path } of artifact.files) await chmod(path, 0o644);
      return artifact;
    },
    async admit(name, policy, options = {}) {
      const source: ImageSource = {
        ...createLayoutSource(directory, name),
        name,
        identity: registryIdentity(parseReference(name)),
        getSignatures: digest => readSignatures(signatures, digest),
      };
      await policy.admit(source, [await source.getManifest()], options);
    },
    async remove(names) {
      await removeFromLayout(directory, entry => names.includes(entry.annotations?.[nameAnnotation] ?? ""));
      const left = (await readLayoutIndex(directory)).manifests;
      await sweepSignatures(
        signatures,
        left.map(({ digest }) => digest),
      );
    },
  };
}

async function readArtifact(directory: string, entry: Descriptor): Promise<StoredArtifact> {
  const name = entry.annotations![nameAnnotation]!;
  const bytes = await readSmallFile(blobPath(directory, entry.digest), `the manifest of artifact ${name}`);
  verifyBytes(bytes, entry);
  const parsed = parseManifest(bytes, entry.mediaType);
  if (parsed.kind !== "image") throw new OcidError("DATA_LOSS", `artifact ${name} is an index`);
  const { layers, config } = parsed.manifest;
  return {
    name,
    digest: entry.digest,
    sizeBytes: [entry, config, ...layers].reduce((sum, { size }) => sum + size, 0),
    files: filesOf(parsed.manifest, directory, name),
  };
}

function filesOf({ layers }: ImageManifest, directory: string, name: string): readonly ArtifactFile[] {
  const files = layers.map(layer => ({
    title: layer.annotations?.[titleAnnotation] ?? layer.digest.replace(":", "-"),
    path: blobPath(directory, layer.digest),
  }));
  const titles = new Set<string>();
  for (const { title } of files) {
    const parts = title.split("/");
    if (parts.some(part => part === "" || part === "." || part === "..") || /[\0\n]/.test(title))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `artifact ${name} has a file of an unusable name: ${JSON.stringify(title.slice(0, 100))}`,
      );
    if (parts.some((_, at) => titles.has(parts.slice(0, at + 1).join("/"))))
      throw new OcidError("INVALID_ARGUMENT", `artifact ${name} has several files called ${title}`);
    titles.add(title);
  }
  return files;
}

function blobPath(directory: string, digest: Digest): string {
  return join(directory, "blobs", digestAlgorithm(digest), digestHex(digest));
}
