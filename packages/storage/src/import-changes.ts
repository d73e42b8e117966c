import { createHash } from "node:crypto";
import { closeSync, constants, createReadStream, openSync, realpathSync, rmSync, statSync } from "node:fs";
import { basename, dirname, isAbsolute } from "node:path";
import { OcidError } from "@ocid/base";
import { errnoOf, openInRoot } from "@ocid/host";
import { readTar } from "@ocid/layer";
import type { Digest } from "@ocid/spec";
import { type CallOptions, getContainer, type StoreParts } from "./store-parts.ts";

/** What a container has changed, as `openContainerDiff` without the removed, and `containerChanges`, tell of another. */
export interface ImportChangesRequest {
  /** An uncompressed tar file of what was added and changed. Undefined: nothing was. */
  readonly tar?: string | undefined;
  /** Absolute paths, as a container sees them, of what was removed. */
  readonly removed: readonly string[];
  /** Most bytes that the tar may unpack to. Default 128 GiB. */
  readonly maxBytes?: number | undefined;
}

/**
 * Puts changes of another container into the root file system of a mounted one that does not run yet: what was removed
 * is removed, then the tar unpacked over it. Neither reaches outside of the root.
 */
export async function importContainerChanges(
  parts: StoreParts,
  id: string,
  { tar, removed, maxBytes }: ImportChangesRequest,
  { signal }: CallOptions = {},
): Promise<void> {
  const container = getContainer(parts, id);
  if (container.idMappings)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `container ${id} has ids of a user namespace, in which changes cannot be brought`,
    );
  if (parts.mounts.users(container.layerId) === 0)
    throw new OcidError("FAILED_PRECONDITION", `container ${id} is not mounted`);
  const root = realpathSync(parts.mounts.pathOf(container.layerId));
  removePaths(root, removed);
  if (tar === undefined) return;
  const { size } = statSync(tar);
  await parts.pool.apply({
    source: { kind: "file", path: tar },
    digest: await inspect(tar, maxBytes, signal),
    size,
    directory: root,
    ...(maxBytes === undefined ? {} : { maxBytes }),
    signal,
  });
}

function removePaths(root: string, paths: readonly string[]): void {
  const rootFd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    for (const path of paths) removePath(rootFd, path);
  } finally {
    closeSync(rootFd);
  }
}

/** Symlinks on the way are followed as if the root were `/`; what is not there is no error. */
function removePath(rootFd: number, path: string): void {
  const name = basename(path);
  if (!isAbsolute(path) || path.includes("\0") || ["", ".", ".."].includes(name))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `a removed file should have an absolute path, found ${JSON.stringify(path.slice(0, 200))}`,
      { reason: "PathEscape" },
    );
  let fd: number;
  try {
    fd = openInRoot(rootFd, dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "")) return;
    throw error;
  }
  try {
    rmSync(`/proc/self/fd/${fd}/${name}`, { recursive: true, force: true });
  } finally {
    closeSync(fd);
  }
}

/**
 * Reads the tar once to see that it has no marks of a layer, which would hide files, and for its digest: so what is
 * unpacked is what lay there, even if somebody writes to the file meanwhile.
 */
async function inspect(path: string, maxBytes: number | undefined, signal?: AbortSignal): Promise<Digest> {
  const hash = createHash("sha256");
  const bytes = async function* () {
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024, signal })) {
      hash.update(chunk);
      yield chunk as Uint8Array;
    }
  };
  for await (const piece of readTar(bytes(), maxBytes === undefined ? {} : { maxBytes }))
    if (piece.kind === "entry" && basename(piece.entry.path).startsWith(".wh."))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `${JSON.stringify(piece.entry.path.slice(0, 200))} is a layer's mark of a removed file, not a changed file`,
      );
  return `sha256:${hash.digest("hex")}` as Digest;
}
