import { randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { wrapError } from "@ocid/base";

/** Writes a stream to a file that appears whole or not at all and only its owner reads. */
export async function writeTar(content: AsyncIterable<Uint8Array>, file: string): Promise<void> {
  const temporary = join(dirname(file), `.${basename(file)}-${randomBytes(6).toString("hex")}`);
  try {
    // Synced when it is closed.
    await pipeline(content, createWriteStream(temporary, { flags: "wx", mode: 0o600, flush: true }));
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw wrapError(`write ${file}`, error);
  }
}
