import type { Descriptor } from "@ocid/spec";
import { isObject, type Platform, parseJsonObject } from "@ocid/spec";
import type { CallOptions, ImageSource } from "../image-source.ts";
import { inspectImage } from "../inspect-image.ts";
import { diffTrees, type FileDifference, needsBelow } from "./diff-trees.ts";
import { type FileNode, newNode, putBeneath, TreeBudget } from "./file-tree.ts";
import { layersOf } from "./image-files.ts";
import { LayerTars, type LayerToRead, mostBytes } from "./layer-tar.ts";
import { readLayerTree } from "./layer-tree.ts";

export interface DiffImagesOptions extends CallOptions {
  /** Which images of indexes. Default: the machine's own platform. */
  readonly platform?: Platform | undefined;
  /** False compares manifests and configs only, and fetches no layer. Default true. */
  readonly files?: boolean | undefined;
  /** Memory that the two trees may take, in bytes. Default 512 MiB. */
  readonly maxMemory?: number | undefined;
}

/** A value in the configs; undefined where one has it not. */
export interface ConfigDifference {
  /** `config.Env.PATH`, `config.Labels.version`, `architecture` … */
  readonly field: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

export interface ImageDifference {
  /** The manifests are the same, so the images are. */
  readonly same: boolean;
  readonly config: readonly ConfigDifference[];
  readonly layers: {
    /** Layers from the base up that both have: the same content, however it is compressed. */
    readonly shared: number;
    readonly before: readonly Descriptor[];
    readonly after: readonly Descriptor[];
  };
  /** Sorted by path. */
  readonly files: readonly FileDifference[];
}

/**
 * Says how one image differs from another, in its config and in the files that a container would see. Layers that both
 * have are read only where one image's own layers touch a path and the other's do not, and then once.
 */
export async function diffImages(
  before: ImageSource,
  after: ImageSource,
  options: DiffImagesOptions = {},
): Promise<ImageDifference> {
  const [one, other] = [await inspectImage(before, options), await inspectImage(after, options)];
  const [old, now] = [await layersOf(before, options), await layersOf(after, options)];
  const differs = old.findIndex((layer, at) => layer.diffId !== now[at]?.diffId);
  const shared = differs === -1 ? old.length : differs;
  return {
    same: one.manifestDigest === other.manifestDigest,
    config: diffConfigs(flatten(one.rawConfig), flatten(other.rawConfig)),
    layers: {
      shared,
      before: old.slice(shared).map(({ descriptor }) => descriptor),
      after: now.slice(shared).map(({ descriptor }) => descriptor),
    },
    files: options.files === false ? [] : await diffFiles(before, old, after, now, shared, options),
  };
}

async function diffFiles(
  before: ImageSource,
  old: readonly LayerToRead[],
  after: ImageSource,
  now: readonly LayerToRead[],
  shared: number,
  { signal, maxMemory = 512 * 1024 * 1024 }: DiffImagesOptions,
): Promise<readonly FileDifference[]> {
  const budget = new TreeBudget(maxMemory);
  const read = async (source: ImageSource, layers: readonly LayerToRead[]): Promise<FileNode> => {
    const tars = new LayerTars(source);
    const root: FileNode = { ...newNode(), children: new Map() };
    for (const layer of [...layers].reverse()) {
      if (root.closed) break;
      const options = { layer: layer.at, digests: true, budget, maxBytes: mostBytes(layer) };
      putBeneath(root, await readLayerTree(tars.open(layer, { signal }), options));
    }
    return root;
  };
  const [one, other] = [await read(before, old.slice(shared)), await read(after, now.slice(shared))];
  if (shared > 0 && needsBelow(one, other)) {
    const below = await read(after, now.slice(0, shared));
    putBeneath(one, below);
    putBeneath(other, below);
  }
  return [...diffTrees(one, other)];
}

/** Fields with their values; what layers and history say is told by the files. */
function flatten(config: Uint8Array): ReadonlyMap<string, unknown> {
  const found = new Map<string, unknown>();
  const add = (field: string, value: unknown) => {
    if (isObject(value))
      for (const [key, item] of Object.entries(value)) add(field === "" ? key : `${field}.${key}`, item);
    else if (field === "config.Env" && Array.isArray(value))
      for (const item of value.map(String)) {
        const equals = item.indexOf("=");
        found.set(
          `${field}.${equals === -1 ? item : item.slice(0, equals)}`,
          equals === -1 ? "" : item.slice(equals + 1),
        );
      }
    else if (value !== null && value !== undefined && value !== "") found.set(field, value);
  };
  const { rootfs: _rootfs, history: _history, ...rest } = parseJsonObject(config, "image config");
  add("", rest);
  return found;
}

function diffConfigs(
  old: ReadonlyMap<string, unknown>,
  now: ReadonlyMap<string, unknown>,
): readonly ConfigDifference[] {
  const fields = [...new Set([...old.keys(), ...now.keys()])].sort();
  return fields
    .filter(field => JSON.stringify(old.get(field)) !== JSON.stringify(now.get(field)))
    .map(field => ({
      field,
      ...(old.has(field) ? { before: old.get(field) } : {}),
      ...(now.has(field) ? { after: now.get(field) } : {}),
    }));
}
