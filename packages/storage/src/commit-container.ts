import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import {
  type Descriptor,
  type DiffId,
  type Digest,
  digestBytes,
  digestHex,
  finishDigest,
  type ImageManifest,
  isDockerType,
  mediaTypes,
  parseImageConfig,
  parseManifest,
} from "@ocid/spec";
import type { BigData } from "./big-data.ts";
import { commitLayers } from "./commit-layers.ts";
import { openContainerDiff } from "./container-diff.ts";
import type { ImageRecord } from "./image-records.ts";
import { imagePlace } from "./layout.ts";
import { putImage } from "./put-image.ts";
import { readImageData } from "./read-image.ts";
import { stageLayer } from "./stage-layer.ts";
import { openStaging } from "./staging.ts";
import { type CallOptions, getContainer, getImage, type StoreParts } from "./store-parts.ts";

export interface CommitContainerRequest {
  /** Full names of the new image; they move here from whichever images have them. */
  readonly names: readonly string[];
  /** RFC 3339; the same time and the same changes give the same image. Default now. */
  readonly created?: string | undefined;
  readonly author?: string | undefined;
  readonly comment?: string | undefined;
}

/** Makes an image of a container: that of its own image with what it has changed as one layer more. */
export async function commitContainer(
  parts: StoreParts,
  id: string,
  request: CommitContainerRequest,
  options: CallOptions = {},
): Promise<ImageRecord> {
  const container = getContainer(parts, id);
  if (container.imageId === "")
    throw new OcidError("FAILED_PRECONDITION", `container ${id} is of no image; import its directory`);
  const base = getImage(parts, container.imageId);
  await using spooled = await spoolLayer(parts, openContainerDiff(parts, container.id, options), options);
  const image = await imageWithLayer(parts, base, spooled, request);
  const { diffId, size, path } = spooled;
  await using staged = await stageLayer(parts, {
    descriptor: { mediaType: mediaTypes.ociLayer, digest: diffId, size },
    diffId,
    source: { kind: "file", path },
    signal: options.signal,
  });
  await commitLayers(parts, [staged], image.stack.slice(0, -1), options);
  return await putImage(parts, { ...image, names: request.names }, options);
}

/** An image that is to be published, and what its topmost layer was made of. */
interface CommittedImage {
  readonly id: string;
  readonly stack: readonly DiffId[];
  readonly created: string;
  readonly bigData: readonly BigData[];
}

/** A tar in a file of the store's staging. */
interface SpooledLayer extends AsyncDisposable {
  readonly path: string;
  readonly diffId: DiffId;
  readonly size: number;
}

/** Writes a layer to a file beside the store, which goes away with whoever disposes of it, or dies. */
async function spoolLayer(
  parts: StoreParts,
  tar: AsyncIterable<Uint8Array>,
  { signal }: CallOptions,
): Promise<SpooledLayer> {
  await using undo = new AsyncDisposableStack();
  const staging = undo.use(openStaging(imagePlace(parts.layout).metadataStaging));
  const path = join(staging.path, "0-layer.tar");
  const hash = createHash("sha256");
  let size = 0;
  await using file = await open(path, "wx", 0o600);
  for await (const chunk of tar) {
    signal?.throwIfAborted();
    hash.update(chunk);
    size += chunk.byteLength;
    await file.writeFile(chunk);
  }
  const kept = undo.move();
  return {
    path,
    diffId: finishDigest(hash) as DiffId,
    size,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Config and manifest of an image with one layer more; the format of the manifest stays what it was. */
async function imageWithLayer(
  parts: StoreParts,
  image: ImageRecord,
  layer: Pick<SpooledLayer, "diffId" | "size">,
  request: CommitContainerRequest,
): Promise<CommittedImage> {
  const created = request.created ?? new Date().toISOString();
  if (Number.isNaN(Date.parse(created)))
    throw new OcidError("INVALID_ARGUMENT", `${JSON.stringify(created)} is not a time in RFC 3339 form`);
  const oldConfig = await readImageData(parts, image.id, `sha256:${image.id}`);
  const { manifest, mediaType } = readManifest(await readImageData(parts, image.id, "manifest"), image.id);
  const stack = [...parseImageConfig(oldConfig).rootfs.diff_ids, layer.diffId];
  const docker = isDockerType(mediaType);
  const config = extendConfig(oldConfig, stack, created, request);
  const digest: Digest = digestBytes(config);
  const added: Descriptor = {
    mediaType: docker ? mediaTypes.dockerLayer : mediaTypes.ociLayer,
    digest: layer.diffId,
    size: layer.size,
  };
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: { mediaType: manifest.config.mediaType, digest, size: config.byteLength },
      layers: [...manifest.layers, added],
    }),
  );
  return {
    id: digestHex(digest),
    stack,
    created,
    bigData: [
      { key: digest, bytes: config },
      { key: `manifest-${digestBytes(bytes)}`, bytes },
      { key: "manifest", bytes },
    ],
  };
}

function readManifest(
  bytes: Uint8Array,
  imageId: string,
): { readonly manifest: ImageManifest; readonly mediaType: string } {
  const parsed = parseManifest(bytes);
  if (parsed.kind === "image") return parsed;
  throw new OcidError("DATA_LOSS", `the manifest of image ${imageId} is an index; pull the image again`);
}

/** Keys that we do not know stay as they are; the history gets the layer's line. */
function extendConfig(
  old: Uint8Array,
  stack: readonly DiffId[],
  created: string,
  { author, comment }: CommitContainerRequest,
): Uint8Array {
  const document = JSON.parse(Buffer.from(old).toString()) as Record<string, unknown>;
  const history = Array.isArray(document["history"]) ? document["history"] : [];
  return Buffer.from(
    JSON.stringify({
      ...document,
      created,
      ...(author === undefined ? {} : { author }),
      rootfs: { type: "layers", diff_ids: stack },
      history: [
        ...history,
        { created, created_by: "ocic commit", ...(author && { author }), ...(comment && { comment }) },
      ],
    }),
  );
}
