import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "@ocid/spec";
import { tryLockPath } from "./staging.ts";

/** What is kept of a layer's blob whose download was interrupted; the next pull of it goes on from there. */
export interface PartialDownload {
  readonly digest: Digest;
  readonly bytes: number;
  /** Milliseconds since 1970 at which the last byte came. */
  readonly changedMs: number;
  /** Whether a living process is at it. */
  readonly inUse: boolean;
}

interface Pieces {
  readonly paths: string[];
  bytes: number;
  changedMs: number;
}

export function partialDirectory(own: string): string {
  return join(own, "partial");
}

export function listPartialDownloads(own: string): readonly PartialDownload[] {
  const directory = partialDirectory(own);
  return [...findPieces(directory)].map(([hex, { bytes, changedMs }]) => {
    const lock = tryLockPath(join(directory, `${hex}.lock`));
    lock?.release();
    const digest = `${hex.length === 128 ? "sha512" : "sha256"}:${hex}` as Digest;
    return { digest, bytes, changedMs, inUse: lock === undefined };
  });
}

/** Removes what nobody is at and has not changed since `beforeMs`; returns what that was. */
export function removePartialDownloads(own: string, beforeMs: number): readonly Digest[] {
  const directory = partialDirectory(own);
  const removed: Digest[] = [];
  for (const { digest, changedMs } of listPartialDownloads(own)) {
    if (changedMs > beforeMs) continue;
    const hex = digest.slice(digest.indexOf(":") + 1);
    const lockPath = join(directory, `${hex}.lock`);
    using lock = tryLockPath(lockPath);
    if (!lock) continue;
    for (const path of findPieces(directory).get(hex)?.paths ?? []) rmSync(path, { force: true });
    rmSync(lockPath, { force: true });
    removed.push(digest);
  }
  return removed;
}

function findPieces(directory: string): Map<string, Pieces> {
  const found = new Map<string, Pieces>();
  for (const name of existsSync(directory) ? readdirSync(directory) : []) {
    // Without an offset: as they were named once.
    const hex = /^([0-9a-f]{64}|[0-9a-f]{128})(?:\.\d+)?$/.exec(name)?.[1];
    const path = join(directory, name);
    const stat = hex === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
    if (hex === undefined || !stat) continue;
    const pieces = found.get(hex) ?? { paths: [], bytes: 0, changedMs: 0 };
    pieces.paths.push(path);
    pieces.bytes += stat.size;
    pieces.changedMs = Math.max(pieces.changedMs, stat.mtimeMs);
    found.set(hex, pieces);
  }
  return found;
}
