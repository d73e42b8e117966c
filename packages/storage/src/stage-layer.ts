import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { type AppliedLayer, findKeptPieces } from "@ocid/layer";
import { type BlobSource, type Descriptor, type DiffId, digestHex } from "@ocid/spec";
import { imagePlace } from "./layout.ts";
import { partialDirectory } from "./partial-downloads.ts";
import { openStaging, tryLockPath } from "./staging.ts";
import type { CallOptions, StoreParts } from "./store-parts.ts";

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

/** What the store itself knows of a staged layer. */
export interface Staged extends StagedLayer {
  readonly applied: AppliedLayer;
  /** Its files, and its tar-split. */
  readonly content: string;
  readonly tarSplit: string;
}

/** Blobs larger than this are kept while they arrive, so that an interrupted download goes on where it stopped. */
const keepPartialBytes = 8 * 1024 * 1024;

/**
 * Fetches, verifies and unpacks a layer beside the store, without any lock: any number at once, in any order, parents
 * or not (§D.7).
 */
export async function stageLayer(parts: StoreParts, request: StageLayerRequest): Promise<Staged> {
  const { descriptor, source, diffId, onBytes, signal } = request;
  await using undo = new AsyncDisposableStack();
  const place = imagePlace(parts.layout);
  const content = undo.use(openStaging(place.contentStaging));
  const metadata = undo.use(openStaging(parts.layout.metadataStaging));
  using partial =
    source.kind !== "file" && descriptor.size >= keepPartialBytes
      ? takePartial(place.own, descriptor)
      : undefined;
  const directory = join(content.path, "0-addition");
  const tarSplit = join(metadata.path, "0-addition");
  mkdirSync(directory, { mode: 0o755 });
  let applied: AppliedLayer;
  try {
    applied = await parts.pool.apply({
      source,
      digest: descriptor.digest,
      size: descriptor.size,
      diffId,
      directory,
      tarSplitPath: tarSplit,
      ...(partial ? { partialPath: partial.path } : {}),
      onBytes,
      signal,
    });
    checkApplied(applied, request);
  } catch (error) {
    throw wrapError(`layer ${descriptor.digest}`, error);
  }
  const kept = undo.move();
  const staged: Staged = {
    applied,
    content: directory,
    tarSplit,
    diffId: applied.diffId,
    digest: applied.digest,
    size: applied.size,
    [Symbol.asyncDispose]: async () => {
      parts.staged.delete(staged);
      await kept.disposeAsync();
    },
  };
  parts.staged.add(staged);
  return staged;
}

/** FAILED_PRECONDITION for a layer of another store, or one that was given back. */
export function requireStaged(parts: StoreParts, layer: StagedLayer): Staged {
  if (parts.staged.has(layer as Staged)) return layer as Staged;
  throw new OcidError(
    "FAILED_PRECONDITION",
    `layer ${layer.digest} is not staged in the store ${parts.layout.root}, or was given back already`,
  );
}

/** The pool is given to the store from outside, and layers are published by what it says. */
function checkApplied(applied: AppliedLayer, { descriptor, diffId }: StageLayerRequest): void {
  if (applied.diffId !== diffId)
    throw new OcidError(
      "DATA_LOSS",
      `its archive is ${applied.diffId}, but the image's config says ${diffId}`,
    );
  if (applied.digest !== descriptor.digest)
    throw new OcidError("DATA_LOSS", `its blob is ${applied.digest} instead`);
}

/** Where a blob is kept as it arrives; undefined when somebody else is fetching the same. */
function takePartial(
  own: string,
  descriptor: Descriptor,
): (Disposable & { readonly path: string }) | undefined {
  const directory = partialDirectory(own);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, digestHex(descriptor.digest));
  const lock = tryLockPath(`${path}.lock`);
  if (!lock) return undefined;
  return {
    path,
    [Symbol.dispose]() {
      if (findKeptPieces(path).length === 0) rmSync(`${path}.lock`, { force: true });
      lock.release();
    },
  };
}
