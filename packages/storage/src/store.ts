import { join } from "node:path";
import { type Logger, OcidError, silentLogger } from "@ocid/base";
import { createLayerPool, createLayerTar, type LayerPool } from "@ocid/layer";
import { type DiffId, type Digest, mediaTypes } from "@ocid/spec";
import type { BigData } from "./big-data.ts";
import { type CheckOptions, checkStore, type Finding } from "./check-store.ts";
import { type Collected, type CollectOptions, collectGarbage } from "./collect-garbage.ts";
import { type CommitContainerRequest, imageWithLayer, spoolLayer } from "./commit-container.ts";
import { commitLayer } from "./commit-layer.ts";
import { type ContainerChange, containerChanges } from "./container-changes.ts";
import { type ContainerRecord, ContainerRecords } from "./container-records.ts";
import {
  type CreateContainerRequest,
  containerLayerMark,
  createContainer,
  removeContainer,
} from "./create-container.ts";
import { type DiskUsage, diskUsage } from "./disk-usage.ts";
import { findContainer } from "./find-container.ts";
import { findImage } from "./find-image.ts";
import { refuseForeignShapes } from "./foreign-shapes.ts";
import { toContainerId } from "./id-mapping.ts";
import { type ImageDiskUsage, imageDiskUsage } from "./image-disk-usage.ts";
import { type ImageRecord, ImageRecords } from "./image-records.ts";
import { type LayerRecord, LayerRecords, layerIds } from "./layer-records.ts";
import { openLayerTar } from "./layer-tar.ts";
import { LayerUsage } from "./layer-usage.ts";
import { prepareLayout } from "./layout.ts";
import { Mounts } from "./mounts.ts";
import { listPartialDownloads, type PartialDownload, removePartialDownloads } from "./partial-downloads.ts";
import {
  listQuarantine,
  type QuarantineEntry,
  quarantineImage,
  quarantineUnrecorded,
  removeQuarantined,
  restoreQuarantined,
} from "./quarantine.ts";
import { rebuildLinks } from "./rebuild-links.ts";
import { recoverStore } from "./recover-store.ts";
import { type RemovedImage, removeImage } from "./remove-image.ts";
import { restoreLayer } from "./restore-layer.ts";
import { type Staged, type StagedLayer, type StageLayerRequest, stageLayer } from "./stage-layer.ts";
import { takeLock } from "./store-lock.ts";
import {
  allImages,
  type CallOptions,
  findLayer,
  getImage,
  layerChain,
  lockContext,
  openAdditionalStore,
  type StoreParts,
} from "./store-parts.ts";

export interface StoreOptions {
  /** containers/storage's graph root, for example /var/lib/containers/storage. Made where it is missing. */
  readonly root: string;
  /** The run root, on a file system that a reboot clears. */
  readonly runRoot: string;
  /** `mountopt` of storage.conf. */
  readonly mountOptions?: readonly string[] | undefined;
  /** Graph roots of further stores whose images are used but never changed: `additionalimagestores` of storage.conf. */
  readonly additionalStores?: readonly string[] | undefined;
  /** Threads that unpack; one is made, and disposed of with the store, when none is given. */
  readonly layerPool?: LayerPool | undefined;
  readonly logger?: Logger | undefined;
}

export interface PutImageRequest {
  /** Hex of the config's digest. */
  readonly id: string;
  readonly names: readonly string[];
  /** DiffIDs of all its layers, from the base up. */
  readonly stack: readonly DiffId[];
  /** RFC 3339, kept as it is. Default now. */
  readonly created?: string | undefined;
  readonly bigData: readonly BigData[];
  /** The image's metadata instead of what it has. Default: as it is. */
  readonly metadata?: string | undefined;
}

/** An image as a file system. */
export interface MountedImage {
  readonly path: string;
  readonly imageId: string;
  /** Its topmost layer, under which the mount is counted. */
  readonly layerId: string;
}

export interface StoreUsage {
  readonly images: DiskUsage;
  /** Writable layers. */
  readonly containers: DiskUsage;
}

/**
 * Opens a store, making it where there is none. FAILED_PRECONDITION when another driver's store is there. The files are
 * read when they are asked for, and never replaced because they cannot be read.
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { root, runRoot, mountOptions = [], logger = silentLogger } = options;
  const layout = prepareLayout(root, runRoot);
  refuseForeignShapes(layout);
  const others = (options.additionalStores ?? []).filter(other => other !== layout.root);
  const layers = new LayerRecords(layout, logger);
  return new Store(
    {
      layout,
      logger,
      layers,
      images: new ImageRecords(layout),
      containers: new ContainerRecords(layout),
      mounts: new Mounts(layout, {
        options: mountOptions,
        additional: others.map(other => join(other, "overlay")),
        hasLayer: id => layers.find(id) !== undefined,
      }),
      additional: others.map(other => openAdditionalStore(layout, other, others, mountOptions, logger)),
      pool: options.layerPool ?? createLayerPool(),
    },
    options.layerPool === undefined,
  );
}

/**
 * Images, layers and containers on disk, shared with every other program that uses the containers/storage overlay
 * format. Reads take no lock; changes take the locks that the others take, in their order. Each call may be cancelled
 * while it waits for a lock; once it changes something it goes through.
 */
export class Store implements AsyncDisposable {
  readonly root: string;
  readonly runRoot: string;
  readonly #parts: StoreParts;
  readonly #ownsPool: boolean;
  readonly #staged = new Set<Staged>();
  readonly #layerUsage: LayerUsage;

  /** @internal */
  constructor(parts: StoreParts, ownsPool: boolean) {
    this.root = parts.layout.root;
    this.runRoot = parts.layout.runRoot;
    this.#parts = parts;
    this.#ownsPool = ownsPool;
    this.#layerUsage = new LayerUsage(parts.layout);
  }

  /** Ends the use of the store; what is mounted stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.mounts.releaseHome(lockContext(this.#parts, {}));
    if (this.#ownsPool) await this.#parts.pool[Symbol.asyncDispose]();
  }

  /** Clears away what processes that died have left: staging, half layers, writable layers of ours without a container. */
  async recover(options: CallOptions = {}): Promise<void> {
    await recoverStore(this.#parts, options);
  }

  // Images

  async listImages(): Promise<readonly ImageRecord[]> {
    return allImages(this.#parts);
  }

  /** By name, id, unique id prefix, or `repository@digest`. */
  async findImage(reference: string): Promise<ImageRecord | undefined> {
    return findImage(allImages(this.#parts), reference);
  }

  /** The same; NOT_FOUND when there is none. */
  async getImage(reference: string): Promise<ImageRecord> {
    return getImage(this.#parts, reference);
  }

  /** An item of an image's data: `manifest`, `sha256:…` of the config, `manifest-sha256:…`. */
  async readImageData(imageId: string, key: string): Promise<Uint8Array> {
    const additional = this.#parts.additional.find(store => store.images.get(imageId));
    const images = this.#parts.images.get(imageId) ? this.#parts.images : additional?.images;
    return await (images ?? this.#parts.images).readData(imageId, key);
  }

  /** Bytes of an image: its layers unpacked, and its data. Layers that images share count in each. */
  async imageSize(imageId: string): Promise<number> {
    const image = getImage(this.#parts, imageId);
    const layers = image.layerId === undefined ? [] : layerChain(this.#parts, image.layerId);
    return layers.reduce((sum, layer) => sum + Math.max(0, layer.diffSize ?? 0), image.bigDataBytes);
  }

  /**
   * Publishes an image whose layers are there, or adds names and data to the one with this id. A name moves here from
   * the image that had it. FAILED_PRECONDITION (reason LayerMissing) when a layer has gone meanwhile.
   */
  async putImage(request: PutImageRequest, options: CallOptions = {}): Promise<ImageRecord> {
    const context = lockContext(this.#parts, options);
    const layerId = layerIds(request.stack).at(-1);
    // Nobody removes the layers between this look and the record that holds them.
    using _layers = await takeLock(this.#parts.layout.locks.layers, "read", context);
    if (layerId !== undefined && !findLayer(this.#parts, layerId))
      throw new OcidError(
        "FAILED_PRECONDITION",
        `image ${request.id} cannot be stored: its layer ${layerId} is missing`,
        { reason: "LayerMissing" },
      );
    return await this.#parts.images.put(context, {
      id: request.id,
      names: request.names,
      layerId,
      created: request.created,
      bigData: request.bigData,
      metadata: request.metadata,
    });
  }

  /** Takes names away from whichever images have them; the images stay. */
  async untagImage(names: readonly string[], options: CallOptions = {}): Promise<void> {
    await this.#parts.images.untag(lockContext(this.#parts, options), names);
  }

  /**
   * Removes an image with all its names and the layers that nothing else needs. What is gone already is no error;
   * FAILED_PRECONDITION names the containers and mounts that use it.
   */
  async removeImage(reference: string, options: CallOptions = {}): Promise<RemovedImage> {
    return await removeImage(this.#parts, reference, options);
  }

  // Layers

  /** The topmost layer of a stack, named by its diffIDs from the base up, if it is there and complete. */
  async findLayer(stack: readonly DiffId[]): Promise<LayerRecord | undefined> {
    const id = layerIds(stack).at(-1);
    return id === undefined ? undefined : findLayer(this.#parts, id)?.layer;
  }

  /** From the top layer down to the base. */
  async layerChain(layerId: string): Promise<readonly LayerRecord[]> {
    return layerChain(this.#parts, layerId);
  }

  /** Fetches, verifies and unpacks a layer beside the store. Publish it with `commitLayer`, or dispose of it. */
  async stageLayer(request: StageLayerRequest): Promise<StagedLayer> {
    const staged = await stageLayer(this.#parts, request);
    this.#staged.add(staged);
    const dispose = staged[Symbol.asyncDispose];
    return Object.assign(staged, {
      [Symbol.asyncDispose]: async () => {
        this.#staged.delete(staged);
        await dispose();
      },
    });
  }

  /**
   * Publishes a staged layer on top of those below it (diffIDs from the base up). It counts from the moment its record
   * is complete, and by then everything of it is on the disk. Finding it there already is success.
   */
  async commitLayer(
    layer: StagedLayer,
    below: readonly DiffId[],
    options: CallOptions = {},
  ): Promise<LayerRecord> {
    return await commitLayer(this.#parts, this.#requireStaged(layer), below, this.#staged, options);
  }

  /** The layer's uncompressed tar, bit for bit. DATA_LOSS names a file that has changed. */
  openLayerTar(layerId: string, options: CallOptions = {}): AsyncIterable<Uint8Array> {
    return openLayerTar(this.#parts, layerId, options);
  }

  // Containers

  /** Makes a container with a writable layer on an image; a repeat with the same id and image finds it. */
  async createContainer(
    request: CreateContainerRequest,
    options: CallOptions = {},
  ): Promise<ContainerRecord> {
    return await createContainer(this.#parts, request, options);
  }

  /** Containers of every program that uses the store. */
  async listContainers(): Promise<readonly ContainerRecord[]> {
    return this.#parts.containers.list();
  }

  /** By id, name, or unique id prefix. */
  async findContainer(reference: string): Promise<ContainerRecord | undefined> {
    return findContainer(this.#parts.containers.list(), reference);
  }

  /** Where a container's root file system is mounted, when it is. */
  containerMountPath({ layerId }: ContainerRecord): string | undefined {
    const { mounts } = this.#parts;
    return mounts.users(layerId) > 0 ? mounts.pathOf(layerId) : undefined;
  }

  /**
   * Mounts a container's root file system read-write; a repeat returns the same path. `userNamespace`: path of the
   * namespace of a container that was made with `idMappings`, FAILED_PRECONDITION without.
   */
  async mountContainer(
    id: string,
    options: CallOptions & { readonly userNamespace?: string | undefined } = {},
  ): Promise<{ readonly path: string }> {
    const { layerId, idMappings } = this.#getContainer(id);
    const { userNamespace } = options;
    if (idMappings && userNamespace === undefined && this.#parts.mounts.users(layerId) === 0)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `container ${id} has ids of a user namespace; mount it with that namespace`,
      );
    const path = await this.#parts.mounts.mount(lockContext(this.#parts, options), layerId, {
      readOnly: false,
      once: true,
      plainChanges: isOurs(this.#parts.layers.find(layerId)),
      userNamespace: idMappings && userNamespace,
    });
    return { path };
  }

  /** Gives the mount back; what is not mounted is no error. */
  async unmountContainer(id: string, options: CallOptions = {}): Promise<void> {
    const container = this.#parts.containers.find(id);
    if (container) await this.#parts.mounts.unmount(lockContext(this.#parts, options), container.layerId);
  }

  /** Unmounts and removes a container with its writable layer; what is gone already is no error. */
  async removeContainer(id: string, options: CallOptions = {}): Promise<void> {
    await removeContainer(this.#parts, id, options);
  }

  /** Disk space of a container's writable layer. */
  async containerUsage(id: string, options: CallOptions = {}): Promise<DiskUsage> {
    return await this.#writableUsage(this.#getContainer(id).layerId, options);
  }

  /**
   * What a container has changed, as an uncompressed layer: the same changes give the same bytes. FAILED_PRECONDITION
   * for one of another program whose changes lie on the disk in pieces (`redirect_dir`, `metacopy`).
   * `withoutRemoved` leaves the marks of removed files out, which `containerChanges` tells of.
   */
  openContainerDiff(
    id: string,
    options: CallOptions & { readonly withoutRemoved?: boolean } = {},
  ): AsyncIterable<Uint8Array> {
    const { layerId, idMappings } = this.#getContainer(id);
    return createLayerTar(join(this.#parts.layout.overlay, layerId, "diff"), {
      signal: options.signal,
      withoutRemoved: options.withoutRemoved,
      ownerOf:
        idMappings &&
        ((uid, gid) => ({
          uid: toContainerId(idMappings.uids, uid),
          gid: toContainerId(idMappings.gids, gid),
        })),
    });
  }

  /** The paths that a container has added, changed and removed, sorted. FAILED_PRECONDITION as `openContainerDiff`. */
  async *containerChanges(
    id: string,
    options: CallOptions = {},
  ): AsyncGenerator<ContainerChange, void, undefined> {
    const { layerId } = this.#getContainer(id);
    const parent = this.#parts.layers.find(layerId)?.parentId;
    const upper = join(this.#parts.layout.overlay, layerId, "diff");
    if (parent === undefined) return yield* containerChanges(upper, undefined, options);
    const context = lockContext(this.#parts, options);
    const mounts = this.#mountsOf(parent);
    const lower = await mounts.mount(context, parent, { readOnly: true });
    try {
      yield* containerChanges(upper, lower, options);
    } finally {
      await mounts.unmount(lockContext(this.#parts, {}), parent);
    }
  }

  /**
   * Makes an image of a container: that of its own image with what it has changed as one layer more. A container that
   * runs should be paused, or what it writes meanwhile is in the image in part.
   */
  async commitContainer(
    id: string,
    request: CommitContainerRequest,
    options: CallOptions = {},
  ): Promise<ImageRecord> {
    const container = this.#getContainer(id);
    if (container.imageId === "")
      throw new OcidError("FAILED_PRECONDITION", `container ${id} is of no image; import its directory`);
    const base = getImage(this.#parts, container.imageId);
    await using spooled = await spoolLayer(
      this.#parts,
      this.openContainerDiff(container.id, options),
      options,
    );
    const image = await imageWithLayer(this.#parts, base, spooled, request);
    const { diffId, size, path } = spooled;
    const descriptor = { mediaType: mediaTypes.ociLayer, digest: diffId, size };
    await using staged = await this.stageLayer({
      descriptor,
      diffId,
      source: { kind: "file", path },
      signal: options.signal,
    });
    await this.commitLayer(staged, image.stack.slice(0, -1), options);
    return await this.putImage({ ...image, names: request.names }, options);
  }

  // Care

  /** Compares records, directories and links, and with `deep` all contents; yields what is wrong. */
  check(options: CheckOptions = {}): AsyncGenerator<Finding, void, undefined> {
    return checkStore(this.#parts, options);
  }

  /** Makes broken short links and lower files again; returns the ids of the layers that needed it. */
  async rebuildLinks(options: CallOptions = {}): Promise<readonly string[]> {
    return await rebuildLinks(this.#parts, options);
  }

  /** Puts a freshly staged layer in the place of a damaged one; running containers keep what they have. */
  async restoreLayer(layerId: string, layer: StagedLayer, options: CallOptions = {}): Promise<LayerRecord> {
    const restored = await restoreLayer(this.#parts, layerId, this.#requireStaged(layer), options);
    this.#layerUsage.forget(layerId);
    return restored;
  }

  /**
   * Moves a damaged image, with the layers that nothing else needs, out of the store, from where it can be put back.
   * FAILED_PRECONDITION when a container or a mount uses it.
   */
  async quarantineImage(
    reference: string,
    reason: string,
    options: CallOptions = {},
  ): Promise<QuarantineEntry> {
    return await quarantineImage(this.#parts, reference, reason, options);
  }

  /**
   * Moves layers whose records were lost out of the store; undefined when there are none. Containers' layers stay where
   * they are.
   */
  async quarantineUnrecorded(
    reason: string,
    options: CallOptions = {},
  ): Promise<QuarantineEntry | undefined> {
    return await quarantineUnrecorded(this.#parts, reason, options);
  }

  /** What is in quarantine, the oldest first. */
  listQuarantine(): readonly QuarantineEntry[] {
    return listQuarantine(this.#parts.layout);
  }

  /** Puts what is in quarantine back as it was. FAILED_PRECONDITION when the image is in the store again. */
  async restoreQuarantined(id: string, options: CallOptions = {}): Promise<QuarantineEntry> {
    return await restoreQuarantined(this.#parts, id, options);
  }

  /** Deletes what is in quarantine for good. */
  async removeQuarantined(id: string): Promise<QuarantineEntry> {
    return await removeQuarantined(this.#parts, id);
  }

  /** Removes what nothing needs: leftovers of crashes, things without a record, layers unused for a day. */
  async collectGarbage(options: CollectOptions = {}): Promise<Collected> {
    const collected = await collectGarbage(this.#parts, options);
    this.#layerUsage.keep(new Set(this.#parts.layers.all()));
    return collected;
  }

  /** What interrupted pulls have left for the next ones to go on from. */
  partialDownloads(): readonly PartialDownload[] {
    return listPartialDownloads(this.#parts.layout.own);
  }

  /** Removes what interrupted pulls have left and no living process is at; returns the digests of the blobs. */
  clearPartialDownloads(): readonly Digest[] {
    return removePartialDownloads(this.#parts.layout.own, Number.POSITIVE_INFINITY);
  }

  /** For each image of this store what it takes on the disk, and what removing it would free. */
  async imageDiskUsage(options: CallOptions = {}): Promise<readonly ImageDiskUsage[]> {
    return await imageDiskUsage(this.#parts, this.#layerUsage, options);
  }

  // Images as file systems

  /** Mounts an image read-only, or counts one more user of the mount; give it back with `unmountImage`. */
  async mountImage(reference: string, options: CallOptions = {}): Promise<MountedImage> {
    const image = getImage(this.#parts, reference);
    if (image.layerId === undefined)
      throw new OcidError("FAILED_PRECONDITION", `image ${reference} has no layers to mount`);
    const mounts = this.#mountsOf(image.layerId);
    const path = await mounts.mount(lockContext(this.#parts, options), image.layerId, { readOnly: true });
    return { path, imageId: image.id, layerId: image.layerId };
  }

  /**
   * Gives a mount of an image back, with `all` every one; the last user's unmounts it. False when it was not mounted.
   * Other programs remove the record of a mounted image, while its layer stays for another one: whoever keeps what
   * `mountImage` returned can give the mount back even then; by reference it is NOT_FOUND.
   */
  async unmountImage(
    image: string | Pick<MountedImage, "layerId">,
    options: CallOptions & { readonly all?: boolean } = {},
  ): Promise<boolean> {
    const { layerId } = typeof image === "string" ? getImage(this.#parts, image) : image;
    if (layerId === undefined) return false;
    return await this.#mountsOf(layerId).unmount(lockContext(this.#parts, options), layerId, {
      all: options.all ?? false,
    });
  }

  /** Where an image is mounted, when it is. */
  imageMountPath(image: ImageRecord): string | undefined {
    if (image.layerId === undefined) return undefined;
    const mounts = this.#mountsOf(image.layerId);
    return mounts.users(image.layerId) > 0 ? mounts.pathOf(image.layerId) : undefined;
  }

  /** Disk space of this store's image layers and data, and of writable layers. Image layers are counted once and then known. */
  async usage(options: CallOptions = {}): Promise<StoreUsage> {
    const { layers, images, containers } = this.#parts;
    const writable = new Set(containers.list().map(container => container.layerId));
    const ids = layers.list().flatMap(layer => (writable.has(layer.id) ? [] : [layer.id]));
    const known = await this.#layerUsage.of(ids, undefined, options.signal);
    const data = images.list().map(image => ({
      bytes: image.bigDataBytes,
      inodes: image.bigDataNames.length + 1,
    }));
    const running: DiskUsage[] = [];
    for (const id of writable) running.push(await this.#writableUsage(id, options));
    return {
      images: total([...ids.flatMap(id => known.get(id) ?? []), ...data]),
      containers: total(running),
    };
  }

  #requireStaged(layer: StagedLayer): Staged {
    if (this.#staged.has(layer as Staged)) return layer as Staged;
    throw new OcidError(
      "FAILED_PRECONDITION",
      `layer ${layer.digest} is not staged in the store ${this.root}, or was given back already`,
    );
  }

  async #writableUsage(layerId: string, options: CallOptions): Promise<DiskUsage> {
    return await diskUsage(join(this.#parts.layout.overlay, layerId, "diff"), options.signal);
  }

  #mountsOf(layerId: string): Mounts {
    return findLayer(this.#parts, layerId)?.store?.mounts ?? this.#parts.mounts;
  }

  #getContainer(id: string): ContainerRecord {
    const container = this.#parts.containers.find(id);
    if (!container) throw new OcidError("NOT_FOUND", `container ${id} is not in the store ${this.root}`);
    return container;
  }
}

function isOurs(layer: LayerRecord | undefined): boolean {
  return layer?.metadata === containerLayerMark;
}

function total(parts: readonly DiskUsage[]): DiskUsage {
  return parts.reduce((sum, part) => ({ bytes: sum.bytes + part.bytes, inodes: sum.inodes + part.inodes }), {
    bytes: 0,
    inodes: 0,
  });
}
