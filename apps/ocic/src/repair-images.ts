import { isOcidError, messageOf, OcidError } from "@ocid/base";
import { createRegistrySource, type ImageSource } from "@ocid/image-copy";
import type { RegistryClient } from "@ocid/registry";
import {
  type Descriptor,
  type Digest,
  digestBytes,
  parseImageConfig,
  parseManifest,
  parseReference,
} from "@ocid/spec";
import type { Finding, ImageRecord, Store } from "@ocid/storage";

/** What became of an image's damage. */
export interface Repair {
  readonly image: string;
  readonly imageId: string;
  /** Digests of the blobs that were fetched again. */
  readonly fetched: readonly Digest[];
  /** Why the rest is still damaged. */
  readonly failure: string | undefined;
  /** Whether each registry that may have it answered that it has not. False when one could not be asked. */
  readonly gone: boolean;
}

/**
 * Fetches what the findings say is damaged again, and nothing else, from the registry that each image came from: by
 * digest, so that a tag that has moved on does not matter. Layers are put in place under running containers, which
 * keep what they have mounted; no container's own data is touched.
 */
export async function repairImages(
  store: Store,
  client: RegistryClient,
  findings: readonly Finding[],
): Promise<readonly Repair[]> {
  const bad = findings.filter(finding => finding.remedy === "fetch");
  const layers = new Set(
    bad.flatMap(({ kind, layerId }) => (layerId && !kind.startsWith("image-") ? [layerId] : [])),
  );
  const repairs: Repair[] = [];
  for (const image of (await store.listImages()).filter(record => !record.readOnly)) {
    const items = bad.flatMap(({ imageId, item }) => (imageId === image.id && item ? [item] : []));
    const chain = await idsOf(store, image);
    if (items.length === 0 && chain?.every(id => !layers.has(id))) continue;
    const fetched: Digest[] = [];
    const outcome = await fromAnyName(client, image, source =>
      repairImage(store, source, image, items, layers, fetched),
    );
    repairs.push({ image: image.names[0] ?? image.id, imageId: image.id, fetched, ...outcome });
  }
  return repairs;
}

/** Ids of an image's layers; undefined when the chain is broken. */
async function idsOf(store: Store, image: ImageRecord): Promise<readonly string[] | undefined> {
  if (image.layerId === undefined) return [];
  try {
    return (await store.layerChain(image.layerId)).map(layer => layer.id);
  } catch (error) {
    if (isOcidError(error, "DATA_LOSS")) return undefined;
    throw error;
  }
}

/** Why none of the image's names led to a registry that has it; no failure when one did. */
async function fromAnyName(
  client: RegistryClient,
  image: ImageRecord,
  repair: (source: ImageSource) => Promise<void>,
): Promise<Pick<Repair, "failure" | "gone">> {
  const failures: unknown[] = [];
  const told: string[] = [];
  const digest = image.bigDataDigests["manifest"];
  for (const name of digest === undefined ? [] : image.names) {
    try {
      const { registry, repository } = parseReference(name);
      await repair(createRegistrySource(client, { registry, repository, digest: digest! }));
      return { failure: undefined, gone: false };
    } catch (error) {
      failures.push(error);
      told.push(`${name}: ${messageOf(error)}`);
    }
  }
  return {
    failure: told.join("; ") || "the image has no name that says where it came from",
    gone: failures.length > 0 && failures.every(isNotThere),
  };
}

/** A registry's own answer, not a file that is missing here. */
function isNotThere(error: unknown): boolean {
  return isOcidError(error, "NOT_FOUND") && error.details?.["status"] === 404;
}

async function repairImage(
  store: Store,
  source: ImageSource,
  image: ImageRecord,
  items: readonly string[],
  badLayers: Set<string>,
  fetched: Digest[],
): Promise<void> {
  const manifest = await source.getManifest();
  const parsed = parseManifest(manifest.bytes, manifest.descriptor.mediaType);
  if (parsed.kind !== "image")
    throw new OcidError("INVALID_ARGUMENT", `${source.name} is an index instead of an image`);
  const config = await readAll(source.openBlob(parsed.manifest.config));
  const stack = parseImageConfig(config).rootfs.diff_ids;
  for (const [at, descriptor] of parsed.manifest.layers.entries()) {
    const below = stack.slice(0, at);
    const layer = await store.findLayer(stack.slice(0, at + 1));
    if (layer && !badLayers.has(layer.id)) continue;
    await using staged = await stage(store, source, descriptor, stack[at]!);
    if (layer) await store.restoreLayer(layer.id, staged);
    else await store.commitLayers([staged], below);
    if (layer) badLayers.delete(layer.id);
    fetched.push(descriptor.digest);
  }
  const bigData = [];
  for (const key of items) {
    const bytes = await fetchItem(source, key, manifest.bytes, config);
    bigData.push({ key, bytes });
    fetched.push(digestBytes(bytes));
  }
  if (bigData.length > 0)
    await store.putImage({ id: image.id, names: image.names, stack, created: image.created, bigData });
}

async function stage(store: Store, source: ImageSource, descriptor: Descriptor, diffId: Digest) {
  return await store.stageLayer({
    descriptor,
    diffId: diffId as Parameters<Store["stageLayer"]>[0]["diffId"],
    source: await source.blobSource(descriptor),
  });
}

/** The bytes of an item of an image's data: the config, a manifest, the index that it was found through. */
async function fetchItem(
  source: ImageSource,
  key: string,
  manifest: Uint8Array,
  config: Uint8Array,
): Promise<Uint8Array> {
  if (key === "manifest" || key === `manifest-${digestBytes(manifest)}`) return manifest;
  if (key === digestBytes(config)) return config;
  const digest = /^manifest-(sha256:[0-9a-f]{64})$/.exec(key)?.[1];
  if (digest !== undefined) return (await source.getManifest(digest as Digest)).bytes;
  throw new OcidError("UNIMPLEMENTED", `${key} cannot be fetched again; pull the image`);
}

async function readAll(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}
