import { readFile } from "node:fs/promises";
import { wrapError } from "@ocid/base";

/** Reads a file that was named on the command line; `what` says in errors what it should have been. */
export async function readNamedFile(path: string, what: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw wrapError(`read the ${what} ${path}`, error);
  }
}
