import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  createReadStream,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  renameSync,
} from "node:fs";
import { join } from "node:path";
import { type Logger, OcidError, silentLogger, wrapError } from "@ocid/base";
import { openInRoot, syncFilesystem } from "@ocid/host";
import { type AppliedLayer, createLayerPool, type LayerPool, rebuildTar } from "@ocid/layer";
import { type BlobSource, type Descriptor, type DiffId, digestHex } from "@ocid/spec";
import { type ContainerRecord, ContainerRecords } from "./container-records.ts";
import { type DiskUsage, diskUsage } from "./disk-usage.ts";
import { type BigData, type ImageRecord, ImageRecords } from "./image-records.ts";
import { createLayerDirectory, refuseForeignShapes } from "./layer-directory.ts";
import {
  containerLayerRow,
  imageLayerRow,
  type LayerRecord,
  LayerRecords,
  layerIds,
} from "./layer-records.ts";
import { type Layout, prepareLayout } from "./layout.ts";
import { Mounts } from "./mounts.ts";
import { syncDirectory } from "./record-file.ts";
import { stageContent, stageMetadata, sweepStaging } from "./staging.ts";
import type { LockContext } from "./store-lock.ts";

export interface StoreOptions {
  /** containers/storage's graph root, for example /var/lib/containers/storage. Made where it is missing. */
  readonly root: string;
  /** The run root, on a file system that a reboot clears. */
  readonly runRoot: string;
  /** `mountopt` of storage.conf. */
  readonly mountOptions?: readonly string[];
  /** Threads that unpack; one is made, and disposed of with the store, when none is given. */
  readonly layerPool?: LayerPool;
  readonly logger?: Logger;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface StageLayerRequest extends CallOptions {
  readonly descriptor: Descriptor;
  readonly source: BlobSource;
  readonly diffId: DiffId;
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/** A layer that is unpacked and verified, but not in the store yet. */
export interface StagedLayer extends AsyncDisposable {
  readonly diffId: DiffId;
  readonly digest: Descriptor["digest"];
  readonly size: number;
}

interface Staged extends StagedLayer {
  readonly applied: AppliedLayer;
  readonly content: string;
  readonly tarSplit: string;
  synced: boolean;
}

/** Blobs larger than this are kept while they arrive, so that an interrupted download goes on where it stopped. */
const keepPartialBytes = 8 * 1024 * 1024;

const containerLayerMark = '{"ocid":"container"}';

/** Opens a store, making it where there is none. FAILED_PRECONDITION when another driver's store is there. */
export async function openStore(options: StoreOptions): Promise<Store> {
  const layout = prepareLayout(options.root, options.runRoot);
  refuseForeignShapes(layout);
  return new Store(layout, options);
}

/**
 * Images, layers and containers on disk, shared with every other program that uses the containers/storage overlay
 * format. Reads take no lock; changes take the locks that the others take, in their order.
 */
export class Store implements AsyncDisposable {
  readonly root: string;
  readonly runRoot: string;
  readonly #layout: Layout;
  readonly #logger: Logger;
  readonly #layers: LayerRecords;
  readonly #images: ImageRecords;
  readonly #containers: ContainerRecords;
  readonly #mounts: Mounts;
  readonly #pool: LayerPool;
  readonly #ownsPool: boolean;
  readonly #staged = new Set<Staged>();

  /** @internal */
  constructor(layout: Layout, options: StoreOptions) {
    this.root = layout.root;
    this.runRoot = layout.runRoot;
    this.#layout = layout;
    this.#logger = options.logger ?? silentLogger;
    this.#layers = new LayerRecords(layout, this.#logger);
    this.#images = new ImageRecords(layout);
    this.#containers = new ContainerRecords(layout);
    this.#mounts = new Mounts(layout, options.mountOptions ?? []);
    this.#ownsPool = options.layerPool === undefined;
    this.#pool = options.layerPool ?? createLayerPool();
  }

  /** Ends the use of the store; what is mounted stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#mounts.releaseHome(this.#context({}));
    if (this.#ownsPool) await this.#pool[Symbol.asyncDispose]();
  }

  /** Clears away what processes of ours that died have left: staging, writable layers without a container. */
  async recover(options: CallOptions = {}): Promise<void> {
    const swept = sweepStaging(this.#layout);
    if (swept > 0)
      this.#logger.info("removed staging directories of processes that have died", { count: swept });
    const context = this.#context(options);
    await this.#layers.change(context, layers =>
      this.#containers.change(context, async containers => {
        const used = new Set(containers.list().map(container => container.layerId));
        for (const layer of layers.list()) {
          if (layer.metadata !== containerLayerMark || used.has(layer.id)) continue;
          this.#logger.info("removing a writable layer without a container", { layer: layer.id });
          await this.#mounts.unmountLocked(context, layer.id, { all: true });
          layers.remove(layer.id);
        }
      }),
    );
  }

  // Images

  async listImages(): Promise<readonly ImageRecord[]> {
    return this.#images.list();
  }

  /** By name, id, unique id prefix, or `repository@digest`. */
  async findImage(reference: string): Promise<ImageRecord | undefined> {
    return this.#images.find(reference);
  }

  async getImage(reference: string): Promise<ImageRecord> {
    const image = this.#images.find(reference);
    if (!image)
      throw new OcidError("NOT_FOUND", `image ${reference} is not in the store ${this.root}; pull it first`);
    return image;
  }

  async readImageData(imageId: string, key: string): Promise<Uint8Array> {
    return this.#images.readData(imageId, key);
  }

  /** Bytes of an image: its layers unpacked, and its data. Layers that images share count in each. */
  async imageSize(imageId: string): Promise<number> {
    const image = await this.getImage(imageId);
    const layers = image.layerId === undefined ? [] : await this.layerChain(image.layerId);
    return layers.reduce((sum, layer) => sum + (layer.diffSize ?? 0), image.bigDataBytes);
  }

  /** Publishes an image whose layers are there, or adds names and data to the one with this id. */
  async putImage(
    request: {
      readonly id: string;
      readonly names: readonly string[];
      readonly stack: readonly DiffId[];
      readonly created?: string | undefined;
      readonly bigData: readonly BigData[];
    },
    options: CallOptions = {},
  ): Promise<ImageRecord> {
    const layerId = layerIds(request.stack).at(-1);
    if (layerId !== undefined && !this.#layers.find(layerId))
      throw new OcidError(
        "FAILED_PRECONDITION",
        `image ${request.id} cannot be stored: its layer ${layerId} is missing`,
      );
    return await this.#images.put(this.#context(options), { ...request, layerId, created: request.created });
  }

  async untagImage(names: readonly string[], options: CallOptions = {}): Promise<void> {
    await this.#images.untag(this.#context(options), names);
  }

  /**
   * Removes an image with all its names and the layers that nothing else needs; returns the ids of these. What is gone
   * already is no error. FAILED_PRECONDITION names the containers that use it.
   */
  async removeImage(
    reference: string,
    options: CallOptions = {},
  ): Promise<{ readonly removedLayers: readonly string[] }> {
    const context = this.#context(options);
    return await this.#layers.change(context, layers =>
      this.#images.removing(context, removeRecord =>
        this.#containers.change(context, async containers => {
          const image = this.#images.find(reference);
          if (!image) return { removedLayers: [] };
          const users = containers.list().filter(container => container.imageId === image.id);
          if (users.length > 0)
            throw new OcidError(
              "FAILED_PRECONDITION",
              `image ${reference} is in use by ${users.map(user => user.names[0] ?? user.id).join(", ")}; remove that first`,
            );
          removeRecord(image.id);
          const needed = new Set([
            ...this.#images.list().map(other => other.layerId),
            ...containers.list().map(container => container.layerId),
          ]);
          const removedLayers: string[] = [];
          for (let layer = image.layerId === undefined ? undefined : layers.find(image.layerId); layer; ) {
            const { id, parentId } = layer;
            if (needed.has(id) || layers.list().some(other => other.parentId === id)) break;
            await this.#mounts.unmountLocked(context, id, { all: true });
            layers.remove(id);
            removedLayers.push(id);
            layer = parentId === undefined ? undefined : layers.find(parentId);
          }
          return { removedLayers };
        }),
      ),
    );
  }

  // Layers

  async findLayer(stack: readonly DiffId[]): Promise<LayerRecord | undefined> {
    const id = layerIds(stack).at(-1);
    return id === undefined ? undefined : this.#layers.find(id);
  }

  /** From the top layer down to the base. */
  async layerChain(layerId: string): Promise<readonly LayerRecord[]> {
    const chain: LayerRecord[] = [];
    for (let id: string | undefined = layerId; id !== undefined; ) {
      const layer = this.#layers.find(id);
      if (!layer || chain.includes(layer))
        throw new OcidError("DATA_LOSS", `layer ${id} is missing from the store ${this.root}`);
      chain.push(layer);
      id = layer.parentId;
    }
    return chain;
  }

  /** Fetches, verifies and unpacks a layer beside the store. Publish it with `commitLayer`, or dispose of it. */
  async stageLayer(request: StageLayerRequest): Promise<StagedLayer> {
    const { descriptor, source, diffId, onBytes, signal } = request;
    const content = stageContent(this.#layout);
    const metadata = stageMetadata(this.#layout);
    const dispose = () => {
      this.#staged.delete(staged);
      content[Symbol.dispose]();
      metadata[Symbol.dispose]();
    };
    let staged: Staged;
    try {
      const directory = join(content.path, "diff");
      mkdirSync(directory, { mode: 0o755 });
      const tarSplit = join(metadata.path, "tar-split.gz");
      const partialPath =
        source.kind !== "file" && descriptor.size >= keepPartialBytes
          ? this.#partialPath(descriptor)
          : undefined;
      const applied = await this.#pool.apply({
        source,
        digest: descriptor.digest,
        size: descriptor.size,
        diffId,
        directory,
        tarSplitPath: tarSplit,
        ...(partialPath === undefined ? {} : { partialPath }),
        onBytes,
        signal,
      });
      staged = {
        applied,
        content: directory,
        tarSplit,
        synced: false,
        diffId: applied.diffId,
        digest: applied.digest,
        size: applied.size,
        [Symbol.asyncDispose]: async () => dispose(),
      };
    } catch (error) {
      content[Symbol.dispose]();
      metadata[Symbol.dispose]();
      throw wrapError(`layer ${descriptor.digest}`, error);
    }
    this.#staged.add(staged);
    return staged;
  }

  /**
   * Publishes a staged layer on top of those below it (diffIDs from the base up). It counts from the moment its record
   * is complete, and by then everything of it is on the disk.
   */
  async commitLayer(
    layer: StagedLayer,
    below: readonly DiffId[],
    options: CallOptions = {},
  ): Promise<LayerRecord> {
    const staged = layer as Staged;
    if (!this.#staged.has(staged))
      throw new OcidError(
        "FAILED_PRECONDITION",
        `layer ${layer.digest} is not staged in the store ${this.root}, or is published already`,
      );
    if (!staged.synced) await this.#syncStaged();
    options.signal?.throwIfAborted();
    const ids = layerIds([...below, staged.diffId]);
    const id = ids.at(-1)!;
    const parent = ids.at(-2);
    return await this.#layers.change(this.#context(options), layers => {
      const existing = layers.find(id);
      if (existing) return existing;
      if (parent !== undefined && !layers.find(parent))
        throw new OcidError(
          "FAILED_PRECONDITION",
          `layer ${id} cannot be stored: the layer ${parent} below it is missing`,
        );
      const row = imageLayerRow(id, parent, staged.applied);
      layers.begin(row);
      createLayerDirectory(this.#layout, id, parent, staged.content);
      renameSync(staged.tarSplit, join(this.#layout.layers, `${id}.tar-split.gz`));
      syncDirectory(this.#layout.layers);
      layers.complete(row);
      return layers.find(id)!;
    });
  }

  /** The layer's uncompressed tar, bit for bit. DATA_LOSS names a file that has changed. */
  openLayerTar(layerId: string, options: CallOptions = {}): AsyncIterable<Uint8Array> {
    const tarSplitPath = join(this.#layout.layers, `${layerId}.tar-split.gz`);
    if (!existsSync(tarSplitPath))
      throw new OcidError(
        "NOT_FOUND",
        `layer ${layerId} has no tar-split in the store ${this.root}, so its archive cannot be rebuilt`,
      );
    const diff = join(this.#layout.overlay, layerId, "diff");
    return rebuildTar({
      tarSplitPath,
      openFile: (name, size) => readInside(diff, name, size),
      signal: options.signal,
    });
  }

  // Containers

  /** Makes a container with a writable layer on an image; a repeat with the same id and image finds it. ALREADY_EXISTS when the name is another one's. */
  async createContainer(
    request: {
      readonly id: string;
      readonly name: string;
      readonly imageId: string;
      readonly metadata: string;
    },
    options: CallOptions = {},
  ): Promise<ContainerRecord> {
    const context = this.#context(options);
    return await this.#layers.change(context, async layers => {
      const image = await this.getImage(request.imageId);
      return await this.#containers.change(context, containers => {
        const same = containers.list().find(container => container.id === request.id);
        if (same) {
          if (same.imageId === image.id) return same;
          throw new OcidError(
            "ALREADY_EXISTS",
            `container ${request.id} exists in the store with another image`,
          );
        }
        const other = containers.list().find(container => container.names.includes(request.name));
        if (other)
          throw new OcidError("ALREADY_EXISTS", `the name ${request.name} is taken by container ${other.id}`);
        const layerId = randomId();
        const row = containerLayerRow(layerId, [`${request.name}-layer`], image.layerId, containerLayerMark);
        layers.begin(row);
        createLayerDirectory(this.#layout, layerId, image.layerId);
        layers.complete(row);
        const container = {
          id: request.id,
          names: [request.name],
          imageId: image.id,
          layerId,
          metadata: request.metadata,
          created: new Date().toISOString(),
        };
        containers.add(container);
        return container;
      });
    });
  }

  async listContainers(): Promise<readonly ContainerRecord[]> {
    return this.#containers.list();
  }

  async findContainer(id: string): Promise<ContainerRecord | undefined> {
    return this.#containers.find(id);
  }

  /** Mounts a container's root file system read-write; a repeat returns the same path. */
  async mountContainer(id: string, options: CallOptions = {}): Promise<{ readonly path: string }> {
    const container = this.#getContainer(id);
    return {
      path: await this.#mounts.mount(this.#context(options), container.layerId, {
        readOnly: false,
        once: true,
      }),
    };
  }

  async unmountContainer(id: string, options: CallOptions = {}): Promise<void> {
    const container = this.#containers.find(id);
    if (container) await this.#mounts.unmount(this.#context(options), container.layerId);
  }

  /** Unmounts and removes a container with its writable layer; what is gone already is no error. */
  async removeContainer(id: string, options: CallOptions = {}): Promise<void> {
    const context = this.#context(options);
    await this.#layers.change(context, layers =>
      this.#containers.change(context, async containers => {
        const container = containers.list().find(candidate => candidate.id === id);
        if (!container) return;
        await this.#mounts.unmountLocked(context, container.layerId, { all: true });
        containers.remove(id);
        if (layers.find(container.layerId)) layers.remove(container.layerId);
      }),
    );
  }

  /** Disk space of a container's writable layer. */
  async containerUsage(id: string, options: CallOptions = {}): Promise<DiskUsage> {
    return await diskUsage(
      join(this.#layout.overlay, this.#getContainer(id).layerId, "diff"),
      options.signal,
    );
  }

  /** Mounts an image read-only, or counts one more user of the mount; give it back with `unmountImage`. */
  async mountImage(
    reference: string,
    options: CallOptions = {},
  ): Promise<{ readonly path: string; readonly imageId: string }> {
    const image = await this.getImage(reference);
    if (image.layerId === undefined)
      throw new OcidError("FAILED_PRECONDITION", `image ${reference} has no layers to mount`);
    return {
      path: await this.#mounts.mount(this.#context(options), image.layerId, { readOnly: true }),
      imageId: image.id,
    };
  }

  /** Gives a mount of an image back; the last user's unmounts it. False when it was not mounted. */
  async unmountImage(
    reference: string,
    options: CallOptions & { readonly all?: boolean } = {},
  ): Promise<boolean> {
    const image = await this.getImage(reference);
    if (image.layerId === undefined) return false;
    return await this.#mounts.unmount(this.#context(options), image.layerId, { all: options.all ?? false });
  }

  /** Where a layer is mounted, when it is. */
  imageMountPath(image: ImageRecord): string | undefined {
    return image.layerId !== undefined && this.#mounts.count(image.layerId) > 0
      ? this.#mounts.pathOf(image.layerId)
      : undefined;
  }

  /** Disk space of images, from the records, and of containers' writable layers, counted. */
  async usage(
    options: CallOptions = {},
  ): Promise<{ readonly images: DiskUsage; readonly containers: DiskUsage }> {
    const writable = new Set(this.#containers.list().map(container => container.layerId));
    let bytes = this.#images.list().reduce((sum, image) => sum + image.bigDataBytes, 0);
    let inodes = 0;
    for (const layer of this.#layers.list()) {
      if (writable.has(layer.id)) continue;
      bytes += layer.diffSize ?? 0;
      inodes++;
    }
    let containers: DiskUsage = { bytes: 0, inodes: 0 };
    for (const layerId of writable) {
      const one = await diskUsage(join(this.#layout.overlay, layerId, "diff"), options.signal);
      containers = { bytes: containers.bytes + one.bytes, inodes: containers.inodes + one.inodes };
    }
    return { images: { bytes, inodes }, containers };
  }

  #getContainer(id: string): ContainerRecord {
    const container = this.#containers.find(id);
    if (!container) throw new OcidError("NOT_FOUND", `container ${id} is not in the store ${this.root}`);
    return container;
  }

  #context(options: CallOptions): LockContext {
    return { logger: this.#logger, signal: options.signal };
  }

  /** One sync serves all layers that are staged by the time it begins. */
  async #syncStaged(): Promise<void> {
    const covered = [...this.#staged];
    await syncFilesystem(this.root);
    for (const staged of covered) staged.synced = true;
  }

  #partialPath(descriptor: Descriptor): string {
    mkdirSync(this.#layout.partial, { recursive: true, mode: 0o700 });
    return join(this.#layout.partial, digestHex(descriptor.digest));
  }
}

/** 64 hex characters; not ones of which the first twelve could be taken for a number. */
function randomId(): string {
  for (;;) {
    const id = randomBytes(32).toString("hex");
    if (!/^\d{12}/.test(id)) return id;
  }
}

/** Opens a file by a name out of an archive, never outside of the layer. */
async function* readInside(
  diff: string,
  name: string | Buffer,
  size: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const root = openSync(diff, constants.O_RDONLY | constants.O_DIRECTORY);
  let fd: number;
  try {
    fd = openInRoot(root, name, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new OcidError(
      "DATA_LOSS",
      `file ${JSON.stringify(name.toString())} of the layer cannot be opened: ${(error as Error).message}`,
      { cause: error, reason: "FileChanged" },
    );
  } finally {
    closeSync(root);
  }
  if (!fstatSync(fd).isFile()) {
    closeSync(fd);
    throw new OcidError(
      "DATA_LOSS",
      `${JSON.stringify(name.toString())} of the layer is no regular file any more`,
      { reason: "FileChanged" },
    );
  }
  yield* createReadStream("", { fd, highWaterMark: Math.min(256 * 1024, Math.max(size, 1)) });
}
