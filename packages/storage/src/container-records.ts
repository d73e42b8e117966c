import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Row, textOf, textsOf, withKeys } from "./go-json.ts";
import { fromRecord, type IdMappings, toRecord } from "./id-mapping.ts";
import type { Layout } from "./layout.ts";
import { type RecordPlace, RecordSet } from "./record-set.ts";
import type { LockContext } from "./store-lock.ts";

/** A container of the store: a name for a writable layer on top of an image. */
export interface ContainerRecord {
  readonly id: string;
  readonly names: readonly string[];
  readonly imageId: string;
  readonly layerId: string;
  readonly metadata: string;
  readonly created: string;
  /** Of a container in a user namespace. */
  readonly idMappings: IdMappings | undefined;
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
  readonly #records: RecordSet;
  readonly #neighbours: RecordSet | undefined;

  constructor(layout: Layout) {
    this.#layout = layout;
    this.#records = new RecordSet(recordsOf(layout));
    this.#neighbours = layout.imageStore && new RecordSet(recordsOf(layout.imageStore));
  }

  list(): readonly ContainerRecord[] {
    return this.#records.rows().map(toContainer);
  }

  /** These, and where images are apart those of whoever has the image store for a graph root: they hold images too. */
  holders(): readonly ContainerRecord[] {
    return [...this.list(), ...(this.#neighbours?.rows() ?? []).map(toContainer)];
  }

  find(id: string): ContainerRecord | undefined {
    const row = this.#records.find(id);
    return row && toContainer(row);
  }

  /** Runs `work` alone on the containers. */
  async change<T>(context: LockContext, work: (change: ContainerChange) => Promise<T>): Promise<T> {
    using locked = await this.#records.lock(context);
    return await work({
      list: () => this.list(),
      add: async container => {
        await locked.establish();
        mkdirSync(join(this.#layout.containers, container.id, "userdata"), { recursive: true, mode: 0o700 });
        await locked.change(row => row, { append: [toRow(container)] });
      },
      remove: async id => {
        await locked.change(row => (row["id"] === id ? undefined : row));
        rmSync(join(this.#layout.containers, id), { recursive: true, force: true });
      },
    });
  }
}

function recordsOf({ locks, containers }: Layout): RecordPlace {
  // New ones go to the stable file: older users of the store do not read the volatile one, and would remove an image
  // that our container stands on.
  const files = ["containers.json", "volatile-containers.json"].map(name => join(containers, name));
  return { lock: locks.containers, files, directory: containers };
}

export interface ContainerChange {
  list(): readonly ContainerRecord[];
  add(container: ContainerRecord): Promise<void>;
  remove(id: string): Promise<void>;
}

function toRow(container: ContainerRecord): Row {
  return withKeys({}, keyOrder, {
    id: container.id,
    names: container.names.length > 0 ? [...container.names] : undefined,
    image: container.imageId,
    layer: container.layerId,
    metadata: container.metadata || undefined,
    created: container.created,
    uidmap: toRecord(container.idMappings?.uids),
    gidmap: toRecord(container.idMappings?.gids),
    flags: { MountLabel: "", ProcessLabel: "" },
  });
}

function toContainer(row: Row): ContainerRecord {
  return {
    id: row["id"] as string,
    names: textsOf(row, "names"),
    imageId: textOf(row, "image") ?? "",
    layerId: textOf(row, "layer") ?? "",
    metadata: textOf(row, "metadata") ?? "",
    created: textOf(row, "created") ?? "",
    idMappings: fromRecord(row),
  };
}
