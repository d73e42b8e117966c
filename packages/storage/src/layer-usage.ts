import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type DiskUsage, diskUsage } from "./disk-usage.ts";
import type { Layout } from "./layout.ts";
import { writeRecord } from "./write-record.ts";

/**
 * Disk space of image layers, which do not change once they are there: counted once, and kept in a file of ours that
 * may be deleted at any time.
 */
export class LayerUsage {
  readonly #path: string;
  #known: Map<string, DiskUsage> | undefined;

  constructor(layout: Layout) {
    this.#path = join(layout.own, "layer-usage.json");
  }

  /** By layer id; `overlayOf` says in which overlay directory each lies. */
  async of(
    ids: readonly string[],
    overlayOf: (id: string) => string,
    signal?: AbortSignal,
  ): Promise<ReadonlyMap<string, DiskUsage>> {
    this.#known ??= readKnown(this.#path);
    let news = false;
    for (const id of ids) {
      if (this.#known.has(id)) continue;
      const directory = join(overlayOf(id), id);
      const usage = await layerDiskUsage(directory, signal);
      // Of one that was removed meanwhile only a part was seen.
      if (!existsSync(directory)) continue;
      this.#known.set(id, usage);
      news = true;
    }
    if (news) await writeRecord(this.#path, JSON.stringify([...this.#known]), { lasting: false });
    return this.#known;
  }

  /** Forgets a layer whose content was replaced, so that it is counted again. */
  forget(id: string): void {
    this.#known?.delete(id);
  }

  /** Forgets all layers but these. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#known?.keys() ?? []) if (!ids.has(id)) this.#known?.delete(id);
  }
}

/** A layer's directory with everything in it but what is mounted there; what is removed meanwhile is passed over. */
export async function layerDiskUsage(directory: string, signal?: AbortSignal): Promise<DiskUsage> {
  let bytes = (lstatSync(directory, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
  let inodes = 1;
  for (const name of namesIn(directory)) {
    const stat = lstatSync(join(directory, name), { throwIfNoEntry: false });
    if (!stat) continue;
    bytes += stat.blocks * 512;
    inodes++;
    if (name.startsWith("merged") || !stat.isDirectory()) continue;
    const below = await diskUsage(join(directory, name), signal);
    bytes += below.bytes;
    inodes += below.inodes;
  }
  return { bytes, inodes };
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function readKnown(path: string): Map<string, DiskUsage> {
  try {
    const rows: unknown = JSON.parse(readFileSync(path, "utf8"));
    return new Map(Array.isArray(rows) ? rows.filter(isEntry) : []);
  } catch {
    return new Map();
  }
}

function isEntry(row: unknown): row is [string, DiskUsage] {
  if (!Array.isArray(row) || typeof row[0] !== "string") return false;
  const { bytes, inodes } = (row[1] ?? {}) as Partial<DiskUsage>;
  return Number.isSafeInteger(bytes) && Number.isSafeInteger(inodes);
}
