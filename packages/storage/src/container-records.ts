import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Row, textOf, textsOf, withKeys } from "./go-json.ts";
import type { Layout } from "./layout.ts";
import { RecordFile } from "./record-file.ts";
import { type LockContext, takeLock } from "./store-lock.ts";

/** A container of the store: a name for a writable layer on top of an image. */
export interface ContainerRecord {
  readonly id: string;
  readonly names: readonly string[];
  readonly imageId: string;
  readonly layerId: string;
  readonly metadata: string;
  readonly created: string;
}

const keyOrder = [
  "id",
  "names",
  "image",
  "layer",
  "metadata",
  "big-data-names",
  "big-data-sizes",
  "big-data-digests",
  "created",
  "uidmap",
  "gidmap",
  "flags",
] as const;

/** containers.json and volatile-containers.json; other programs keep theirs in either. */
export class ContainerRecords {
  readonly #layout: Layout;
  readonly #files: readonly RecordFile[];

  constructor(layout: Layout) {
    this.#layout = layout;
    this.#files = [
      new RecordFile(join(layout.containers, "containers.json")),
      new RecordFile(join(layout.containers, "volatile-containers.json")),
    ];
  }

  list(): readonly ContainerRecord[] {
    return this.#files.flatMap(file => file.read()).map(toContainer);
  }

  find(id: string): ContainerRecord | undefined {
    return this.list().find(container => container.id === id);
  }

  /** Runs `work` alone on the containers. */
  async change<T>(context: LockContext, work: (change: ContainerChange) => Promise<T> | T): Promise<T> {
    using lock = await takeLock(this.#layout.locks.containers, "write", context);
    return await work({
      list: () => this.list(),
      add: container => {
        mkdirSync(join(this.#layout.containers, container.id, "userdata"), { recursive: true, mode: 0o700 });
        const row = withKeys({}, keyOrder, {
          id: container.id,
          names: [...container.names],
          image: container.imageId,
          layer: container.layerId,
          metadata: container.metadata,
          created: container.created,
          flags: { MountLabel: "", ProcessLabel: "" },
        });
        lock.touch();
        // In the stable file, not the volatile one: older users of the store do not read that, and would remove an
        // image that our container stands on.
        this.#files[0]!.write([...this.#files[0]!.read(), row]);
      },
      remove: id => {
        for (const file of this.#files) {
          if (!file.read().some(row => row["id"] === id)) continue;
          lock.touch();
          file.write(file.read().filter(row => row["id"] !== id));
        }
        const directory = join(this.#layout.containers, id);
        if (existsSync(directory)) rmSync(directory, { recursive: true, force: true });
      },
    });
  }
}

export interface ContainerChange {
  list(): readonly ContainerRecord[];
  add(container: ContainerRecord): void;
  remove(id: string): void;
}

function toContainer(row: Row): ContainerRecord {
  return {
    id: row["id"] as string,
    names: textsOf(row, "names"),
    imageId: textOf(row, "image") ?? "",
    layerId: textOf(row, "layer") ?? "",
    metadata: textOf(row, "metadata") ?? "",
    created: textOf(row, "created") ?? "",
  };
}
