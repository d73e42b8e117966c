import { createHash } from "node:crypto";
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isOcidError, messageOf } from "@ocid/base";
import { digestBytes } from "@ocid/spec";
import { bigDataFile } from "./big-data.ts";
import type { ImageRecord } from "./image-records.ts";
import type { LayerRecord } from "./layer-row.ts";
import { openLayerTar, tarSplitOf } from "./layer-tar.ts";
import { type Layout, placesOf } from "./layout.ts";
import { takeLayersLock, takeLock } from "./store-lock.ts";
import { type CallOptions, findLayer, lockContext, type StoreParts } from "./store-parts.ts";

/** Something wrong in a store, as data: what kind of thing, which one, and a sentence for people. */
export interface Finding {
  readonly kind:
    | "layer-directory-missing"
    | "layer-parent-missing"
    | "layer-link-broken"
    | "layer-lower-wrong"
    | "layer-archive-missing"
    | "layer-content-changed"
    | "image-layer-missing"
    | "image-data-missing"
    | "image-data-changed"
    | "container-image-missing"
    | "container-layer-missing"
    | "no-record";
  readonly layerId?: string;
  readonly imageId?: string;
  readonly containerId?: string;
  readonly path?: string;
  /** The file of a layer, or the key of an image's data, that is concerned. */
  readonly item?: string;
  readonly message: string;
  /** Links and lower files are made again from the rest, garbage is collected; content has to be fetched again. */
  readonly remedy: "rebuild" | "collect" | "fetch";
}

export interface CheckOptions extends CallOptions {
  /** Also reads everything: rebuilds each layer's archive and compares digests. Default false. */
  readonly deep?: boolean | undefined;
  /** With `deep`: at most so many bytes of layers are read in a second. Default as fast as it goes. */
  readonly bytesPerSecond?: number | undefined;
}

/**
 * Compares records, directories, links and, with `deep`, contents (§H.5). The structure is looked at under read locks,
 * at one instant; contents one after the other without any.
 */
export async function* checkStore(
  parts: StoreParts,
  options: CheckOptions = {},
): AsyncGenerator<Finding, void, undefined> {
  yield* await structure(parts, options);
  if (!options.deep) return;
  for (const layer of parts.layers.list()) {
    options.signal?.throwIfAborted();
    const finding = await content(parts, layer, options);
    if (finding && parts.layers.find(layer.id)) yield finding;
  }
  for (const image of parts.images.list()) {
    for (const key of image.bigDataNames) {
      const finding = await data(parts, image, key);
      if (finding && parts.images.get(image.id)) yield finding;
    }
  }
}

async function structure(parts: StoreParts, options: CallOptions): Promise<readonly Finding[]> {
  const context = lockContext(parts, options);
  using locks = new DisposableStack();
  locks.use(await takeLayersLock(parts.layout, "read", context));
  for (const { locks: paths } of placesOf(parts.layout).toReversed())
    locks.use(await takeLock(paths.images, "read", context));
  locks.use(await takeLock(parts.layout.locks.containers, "read", context));
  const layers = parts.layers.list();
  return [
    ...layers.flatMap(layer => [...layerFindings(parts, layer)]),
    ...parts.images.list().flatMap(image => [...imageFindings(parts, image)]),
    ...containerFindings(parts),
    ...unrecorded(parts).map(
      (path): Finding => ({
        kind: "no-record",
        path,
        message: `${path} belongs to no record`,
        remedy: "collect",
      }),
    ),
  ];
}

function* layerFindings(parts: StoreParts, { id, parentId, diffId }: LayerRecord): Generator<Finding> {
  const found = findLayer(parts, id)!;
  const directory = join(found.layout.overlay, id);
  if (!existsSync(join(directory, "diff"))) {
    yield {
      kind: "layer-directory-missing",
      layerId: id,
      message: `layer ${id} has no directory`,
      remedy: "fetch",
    };
    return;
  }
  const link = readText(join(directory, "link"));
  const linkPath = join(found.layout.links, link || "none");
  if (
    !link ||
    !lstatSync(linkPath, { throwIfNoEntry: false })?.isSymbolicLink() ||
    readlinkSync(linkPath) !== `../${id}/diff`
  )
    yield {
      kind: "layer-link-broken",
      layerId: id,
      message: `layer ${id} has no short link`,
      remedy: "rebuild",
    };
  if (diffId !== undefined && tarSplitOf(parts, found) === undefined)
    yield {
      kind: "layer-archive-missing",
      layerId: id,
      message: `layer ${id} has no tar-split: it can be run, but not pushed or verified`,
      remedy: "fetch",
    };
  if (parentId === undefined) return;
  const parent = findLayer(parts, parentId);
  if (!parent) {
    yield {
      kind: "layer-parent-missing",
      layerId: id,
      message: `layer ${id} stands on ${parentId}, which is missing`,
      remedy: "fetch",
    };
    return;
  }
  const below = join(parent.layout.overlay, parentId);
  const lower = [`l/${readText(join(below, "link"))}`, readText(join(below, "lower"))]
    .filter(Boolean)
    .join(":");
  if (readText(join(directory, "lower")) !== lower)
    yield {
      kind: "layer-lower-wrong",
      layerId: id,
      message: `layer ${id} names other layers below it than its records do`,
      remedy: "rebuild",
    };
}

function* imageFindings(parts: StoreParts, image: ImageRecord): Generator<Finding> {
  const name = image.names[0] ?? image.id;
  if (image.layerId !== undefined && !findLayer(parts, image.layerId))
    yield {
      kind: "image-layer-missing",
      imageId: image.id,
      layerId: image.layerId,
      message: `image ${name} stands on layer ${image.layerId}, which is missing`,
      remedy: "fetch",
    };
  for (const key of image.bigDataNames) {
    const path = join(parts.images.directoryOf(image.id), bigDataFile(key));
    if (!statSync(path, { throwIfNoEntry: false })?.isFile())
      yield {
        kind: "image-data-missing",
        imageId: image.id,
        item: key,
        message: `${key} of image ${name} is missing`,
        remedy: "fetch",
      };
  }
}

function* containerFindings(parts: StoreParts): Generator<Finding> {
  const images = new Set(parts.images.list().map(image => image.id));
  for (const store of parts.additional) for (const image of store.images.list()) images.add(image.id);
  for (const container of parts.containers.list()) {
    const name = container.names[0] ?? container.id;
    if (container.imageId !== "" && !images.has(container.imageId))
      yield {
        kind: "container-image-missing",
        containerId: container.id,
        imageId: container.imageId,
        message: `container ${name} is of image ${container.imageId}, which is missing`,
        remedy: "fetch",
      };
    if (!parts.layers.find(container.layerId))
      yield {
        kind: "container-layer-missing",
        containerId: container.id,
        layerId: container.layerId,
        message: `container ${name} has lost its writable layer ${container.layerId}`,
        remedy: "fetch",
      };
  }
}

const hex = /^[0-9a-f]{64}$/;

/**
 * Paths of the store's directories that no record knows, with the names that layers, images and containers have; what
 * is named otherwise is not ours to judge. The caller holds the locks of all three.
 */
export function unrecorded(parts: StoreParts): readonly string[] {
  const layers = new Set(parts.layers.all());
  const images = new Set(parts.images.list().map(image => image.id));
  const containers = new Set(parts.containers.list().map(container => container.id));
  const named = (directory: string, test: (name: string) => boolean) =>
    (existsSync(directory) ? readdirSync(directory) : []).filter(test).map(name => join(directory, name));
  const lost = (directory: string, known: ReadonlySet<string>) =>
    named(directory, name => {
      const id = name.replace(/\.tar-split\.gz$/, "");
      return (hex.test(id) && !known.has(id)) || name.startsWith(".tmp-");
    });
  const ofPlace = (place: Layout) => [
    ...named(place.overlay, name => hex.test(name) && !layers.has(name)),
    ...lost(place.layers, layers),
    ...named(place.links, name => {
      const path = join(place.links, name);
      const target = lstatSync(path).isSymbolicLink() ? readlinkSync(path) : "";
      const id = /^\.\.\/([^/]+)\/diff$/.exec(target)?.[1];
      return id !== undefined && !layers.has(id);
    }),
    ...lost(place.images, images),
  ];
  return [...placesOf(parts.layout).flatMap(ofPlace), ...lost(parts.layout.containers, containers)];
}

async function content(
  parts: StoreParts,
  layer: LayerRecord,
  options: CheckOptions,
): Promise<Finding | undefined> {
  const found = findLayer(parts, layer.id);
  if (
    layer.diffId === undefined ||
    found === undefined ||
    tarSplitOf(parts, found) === undefined ||
    !existsSync(join(found.layout.overlay, layer.id, "diff"))
  )
    return undefined;
  const changed = (why: string, item?: unknown): Finding => ({
    kind: "layer-content-changed",
    layerId: layer.id,
    ...(typeof item === "string" ? { item } : {}),
    message: `layer ${layer.id} has changed on disk: ${why}`,
    remedy: "fetch",
  });
  const hash = createHash("sha256");
  try {
    for await (const chunk of paced(openLayerTar(parts, layer.id, options), options)) hash.update(chunk);
  } catch (error) {
    if (!isOcidError(error, "DATA_LOSS") && !isOcidError(error, "NOT_FOUND")) throw error;
    return changed(messageOf(error), error.details?.["file"]);
  }
  const digest = `sha256:${hash.digest("hex")}`;
  return digest === layer.diffId ? undefined : changed(`its archive is ${digest} instead of ${layer.diffId}`);
}

/** Hands chunks on no faster than is asked for, resting after each tenth of a second's worth. */
async function* paced(
  chunks: AsyncIterable<Uint8Array>,
  { bytesPerSecond, signal }: CheckOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (bytesPerSecond === undefined) return yield* chunks;
  const start = performance.now();
  let bytes = 0;
  for await (const chunk of chunks) {
    yield chunk;
    bytes += chunk.byteLength;
    const aheadMs = start + (bytes / bytesPerSecond) * 1000 - performance.now();
    if (aheadMs > 100) await sleep(aheadMs, undefined, { signal });
  }
}

async function data(parts: StoreParts, image: ImageRecord, key: string): Promise<Finding | undefined> {
  const expected = image.bigDataDigests[key];
  if (expected === undefined) return undefined;
  const name = image.names[0] ?? image.id;
  try {
    const actual = digestBytes(await parts.images.readData(image.id, key));
    if (actual === expected) return undefined;
    return {
      kind: "image-data-changed",
      imageId: image.id,
      item: key,
      message: `${key} of image ${name} has digest ${actual} instead of ${expected}`,
      remedy: "fetch",
    };
  } catch (error) {
    // Missing files are among the findings of the structure already.
    if (isOcidError(error, "DATA_LOSS") || isOcidError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
}

function readText(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8").trim() : "";
}
