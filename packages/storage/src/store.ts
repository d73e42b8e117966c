import type { DiffId } from "@ocid/spec";
import { type CommitContainerRequest, commitContainer } from "./commit-container.ts";
import { commitLayers } from "./commit-layers.ts";
import type { ContainerChange } from "./container-changes.ts";
import { type ContainerDiffOptions, listContainerChanges, openContainerDiff } from "./container-diff.ts";
import type { ContainerRecord } from "./container-records.ts";
import { type CreateContainerRequest, createContainer, removeContainer } from "./create-container.ts";
import type { DiskUsage } from "./disk-usage.ts";
import { findContainer } from "./find-container.ts";
import { findImage } from "./find-image.ts";
import type { ImageRecord } from "./image-records.ts";
import { type ImportChangesRequest, importContainerChanges } from "./import-changes.ts";
import { layerIds } from "./layer-records.ts";
import type { LayerRecord } from "./layer-row.ts";
import { openLayerTar } from "./layer-tar.ts";
import { imagePlace } from "./layout.ts";
import { type MountContainerOptions, mountContainer, unmountContainer } from "./mount-container.ts";
import { imageMountPath, type MountedImage, mountImage, unmountImage } from "./mount-image.ts";
import { type PutImageRequest, putImage } from "./put-image.ts";
import { imageSize, readImageData } from "./read-image.ts";
import { type RemovedImage, removeImage } from "./remove-image.ts";
import { type StagedLayer, type StageLayerRequest, stageLayer } from "./stage-layer.ts";
import { StoreCare } from "./store-care.ts";
import {
  allImages,
  type CallOptions,
  findLayer,
  getImage,
  layerChain,
  lockContext,
  type StoreParts,
} from "./store-parts.ts";
import { containerUsage } from "./store-usage.ts";

/**
 * Images, layers and containers on disk, shared with every other program that uses the containers/storage overlay
 * format. Reads take no lock; changes take the locks that the others take, in their order. Each call may be cancelled
 * while it waits for a lock; once it changes something it goes through.
 */
export class Store extends StoreCare implements AsyncDisposable {
  readonly root: string;
  readonly runRoot: string;
  /** Where images are: the image store, or the graph root when they are not apart. */
  readonly imageRoot: string;
  readonly #parts: StoreParts;
  readonly #ownsPool: boolean;

  /** @internal */
  constructor(parts: StoreParts, ownsPool: boolean) {
    super(parts);
    this.root = parts.layout.root;
    this.runRoot = parts.layout.runRoot;
    this.imageRoot = imagePlace(parts.layout).root;
    this.#parts = parts;
    this.#ownsPool = ownsPool;
  }

  /** Ends the use of the store; what is mounted stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.mounts.releaseHome(lockContext(this.#parts, {}));
    if (this.#ownsPool) await this.#parts.pool[Symbol.asyncDispose]();
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
    return await readImageData(this.#parts, imageId, key);
  }

  /** Bytes of an image: its layers unpacked, and its data. Layers that images share count in each. */
  async imageSize(imageId: string): Promise<number> {
    return imageSize(this.#parts, imageId);
  }

  /**
   * Publishes an image whose layers are there, or adds names and data to the one with this id. A name moves here from
   * the image that had it. FAILED_PRECONDITION (reason LayerMissing) when a layer has gone meanwhile.
   */
  async putImage(request: PutImageRequest, options: CallOptions = {}): Promise<ImageRecord> {
    return await putImage(this.#parts, request, options);
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

  /** Has a thread ready for layers that are likely to come, so that they need not wait for its start. */
  prepareForLayers(): void {
    this.#parts.pool.prepare();
  }

  /** Fetches, verifies and unpacks a layer beside the store. Publish it with `commitLayers`, or dispose of it. */
  async stageLayer(request: StageLayerRequest): Promise<StagedLayer> {
    return await stageLayer(this.#parts, request);
  }

  /**
   * Publishes staged layers, from the base up: the first stands on those below it (diffIDs from the base up), each
   * further one on the one before. All of them count from the moment their records are complete, and by then everything
   * of them is on the disk. Finding one there already is success.
   */
  async commitLayers(
    layers: readonly StagedLayer[],
    below: readonly DiffId[],
    options: CallOptions = {},
  ): Promise<readonly LayerRecord[]> {
    return await commitLayers(this.#parts, layers, below, options);
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
  async mountContainer(id: string, options: MountContainerOptions = {}): Promise<{ readonly path: string }> {
    return await mountContainer(this.#parts, id, options);
  }

  /** Gives the mount back; what is not mounted is no error. */
  async unmountContainer(id: string, options: CallOptions = {}): Promise<void> {
    await unmountContainer(this.#parts, id, options);
  }

  /** Unmounts and removes a container with its writable layer; what is gone already is no error. */
  async removeContainer(id: string, options: CallOptions = {}): Promise<void> {
    await removeContainer(this.#parts, id, options);
  }

  /** Disk space of a container's writable layer. */
  async containerUsage(id: string, options: CallOptions = {}): Promise<DiskUsage> {
    return await containerUsage(this.#parts, id, options);
  }

  /**
   * What a container has changed, as an uncompressed layer: the same changes give the same bytes. FAILED_PRECONDITION
   * for one of another program whose changes lie on the disk in pieces (`redirect_dir`, `metacopy`).
   * `withoutRemoved` leaves the marks of removed files out, which `containerChanges` tells of.
   */
  openContainerDiff(id: string, options: ContainerDiffOptions = {}): AsyncIterable<Uint8Array> {
    return openContainerDiff(this.#parts, id, options);
  }

  /** The paths that a container has added, changed and removed, sorted. FAILED_PRECONDITION as `openContainerDiff`. */
  containerChanges(id: string, options: CallOptions = {}): AsyncGenerator<ContainerChange, void, undefined> {
    return listContainerChanges(this.#parts, id, options);
  }

  /**
   * The other way round, for a mounted container that does not run yet: brings in what another one has changed.
   * INVALID_ARGUMENT or RESOURCE_EXHAUSTED for what is not to be brought in; the container is then to be removed.
   */
  async importContainerChanges(
    id: string,
    request: ImportChangesRequest,
    options: CallOptions = {},
  ): Promise<void> {
    await importContainerChanges(this.#parts, id, request, options);
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
    return await commitContainer(this.#parts, id, request, options);
  }

  // Images as file systems

  /** Mounts an image read-only, or counts one more user of the mount; give it back with `unmountImage`. */
  async mountImage(reference: string, options: CallOptions = {}): Promise<MountedImage> {
    return await mountImage(this.#parts, reference, options);
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
    return await unmountImage(this.#parts, image, options);
  }

  /** Where an image is mounted, when it is. */
  imageMountPath(image: ImageRecord): string | undefined {
    return imageMountPath(this.#parts, image);
  }
}
