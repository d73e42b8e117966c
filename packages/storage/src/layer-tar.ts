import { closeSync, constants, existsSync, fstatSync, openSync, read, readSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { OcidError, wrapError } from "@ocid/base";
import { errnoOf, openInRoot } from "@ocid/host";
import { rebuildTar } from "@ocid/layer";
import { placesOf } from "./layout.ts";
import {
  type CallOptions,
  type FoundLayer,
  findLayer,
  layerChain,
  layoutOfLayer,
  type StoreParts,
} from "./store-parts.ts";

const readAsync = promisify(read);
const chunkBytes = 256 * 1024;

/** A layer's uncompressed tar, bit for bit. DATA_LOSS names a file that has changed. */
export function openLayerTar(
  parts: StoreParts,
  layerId: string,
  options: CallOptions = {},
): AsyncIterable<Uint8Array> {
  const found = findLayer(parts, layerId);
  const tarSplitPath = found && tarSplitOf(parts, found);
  if (tarSplitPath === undefined)
    throw new OcidError(
      "NOT_FOUND",
      `layer ${layerId} has no tar-split in the store ${parts.layout.root}, so its archive cannot be rebuilt`,
    );
  // A file that the archive has but the layer has not can be in a layer below: the writer found it there unchanged.
  const diffs = layerChain(parts, layerId).map(({ id }) =>
    join(layoutOfLayer(parts, id).overlay, id, "diff"),
  );
  const tar = rebuildTar({
    tarSplitPath,
    openFile: (name, size) => readInside(diffs, name, size),
    signal: options.signal,
  });
  return namingTheLayer(tar, layerId, options);
}

/**
 * Where a layer's tar-split is, if it has one. Of an image store's layers it is in the graph root, unless they were
 * stored there while that was one itself.
 */
export function tarSplitOf(parts: StoreParts, { layer, layout }: FoundLayer): string | undefined {
  const isOwn = placesOf(parts.layout).includes(layout);
  return (isOwn ? [parts.layout, layout] : [layout])
    .map(({ layers }) => join(layers, `${layer.id}.tar-split.gz`))
    .find(path => existsSync(path));
}

async function* namingTheLayer(
  tar: AsyncIterable<Uint8Array>,
  layerId: string,
  { signal }: CallOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* tar;
  } catch (error) {
    throw signal?.aborted ? error : wrapError(`rebuild the archive of layer ${layerId}`, error, "DATA_LOSS");
  }
}

/** Reads a file by a name out of an archive, never outside of the layer. */
async function* readInside(
  diffs: readonly string[],
  name: string | Buffer,
  size: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const fd = openFirst(diffs, name);
  try {
    if (!fstatSync(fd).isFile()) throw changed(name, "is no regular file any more");
    for (;;) {
      const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, Math.max(size, 1)));
      // Small files are read at once: a trip through the thread pool costs more than they do.
      const bytes =
        size <= chunkBytes
          ? readSync(fd, buffer)
          : (await readAsync(fd, buffer, 0, buffer.length, null)).bytesRead;
      if (bytes === 0) return;
      yield buffer.subarray(0, bytes);
    }
  } finally {
    closeSync(fd);
  }
}

function openFirst(diffs: readonly string[], name: string | Buffer): number {
  for (const [at, diff] of diffs.entries()) {
    const root = openSync(diff, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      return openInRoot(root, name, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    } catch (error) {
      if (at === diffs.length - 1 || errnoOf(error) !== "ENOENT")
        throw changed(name, `cannot be opened: ${(error as Error).message}`, error);
    } finally {
      closeSync(root);
    }
  }
  throw changed(name, "is gone");
}

function changed(name: string | Buffer, what: string, cause?: unknown): OcidError {
  return new OcidError("DATA_LOSS", `${JSON.stringify(name.toString())} of the layer ${what}`, {
    reason: "FileChanged",
    details: { file: name.toString() },
    cause,
  });
}
