import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { syncPaths, writeRecord } from "./write-record.ts";

/** An item that is kept in a file beside the records: a manifest, a config. */
export interface BigData {
  readonly key: string;
  readonly bytes: Uint8Array;
}

const maxBytes = 64 * 1024 * 1024;

/** Name of an item's file: the key, or `=` and its base64 when it has characters beyond `a-z0-9.` before the last one (§F.1). */
export function bigDataFile(key: string): string {
  const plain = /^[0-9a-z.]*.?$/su.test(key) && !/^\.{0,2}$|\//.test(key);
  const name = plain ? key : `=${Buffer.from(key).toString("base64")}`;
  if (name.includes("/"))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `the key ${JSON.stringify(key.slice(0, 100))} cannot be the name of a file of the store`,
    );
  return name;
}

/** Writes items into a directory, which is made; lasting once the record that names them is. Of two with one key the later. */
export async function writeBigData(directory: string, items: readonly BigData[]): Promise<void> {
  const files = new Map(items.map(({ key, bytes }) => [checkedFile(key, bytes), bytes]));
  if (files.size === 0) return;
  const writes = await Promise.allSettled(
    Array.from(files, ([file, bytes]) => writeRecord(join(directory, file), bytes, { lasting: false })),
  );
  for (const write of writes) if (write.status === "rejected") throw write.reason;
  await syncPaths([directory]);
}

function checkedFile(key: string, bytes: Uint8Array): string {
  if (bytes.byteLength > maxBytes)
    throw new OcidError(
      "RESOURCE_EXHAUSTED",
      `${key} has ${bytes.byteLength} bytes, more than the limit of ${maxBytes}`,
    );
  return bigDataFile(key);
}

/** Reads an item; `what` names its owner in errors. */
export async function readBigData(directory: string, key: string, what: string): Promise<Uint8Array> {
  try {
    // At once: a manifest or a config is read sooner than a thread of the pool could be asked for it.
    const fd = openSync(join(directory, bigDataFile(key)), "r");
    try {
      const { size } = fstatSync(fd);
      if (size > maxBytes)
        throw new OcidError("DATA_LOSS", `it has ${size} bytes, more than the limit of ${maxBytes}`);
      return readFileSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const lost = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw lost
      ? new OcidError("DATA_LOSS", `${key} of ${what} is missing from the store (${directory})`, {
          cause: error,
        })
      : wrapError(`read ${key} of ${what}`, error, "DATA_LOSS");
  }
}
