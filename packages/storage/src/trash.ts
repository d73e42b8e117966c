import { lstatSync, renameSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type Logger, messageOf } from "@ocid/base";
import { releaseLimits } from "./layer-quota.ts";
import { type Layout, placesOf } from "./layout.ts";
import { openStaging, type StagingDirectory } from "./staging.ts";

/**
 * Takes directories out of the store at once, by renaming them into staging, and deletes them later: so that a lock
 * that others wait for is not held while a hundred thousand files are deleted. Whoever dies between leaves staging,
 * which anybody sweeps.
 */
export class Trash implements AsyncDisposable {
  readonly #places: readonly Layout[];
  readonly #logger: Logger;
  readonly #bins = new Map<string, StagingDirectory>();
  #counter = 0;

  constructor(layout: Layout, logger: Logger) {
    // The inner one first, where one lies in the other.
    this.#places = placesOf(layout).toSorted((a, b) => b.root.length - a.root.length);
    this.#logger = logger;
  }

  /** Takes a path of an overlay directory, or one beside layers.json, away; nothing happens when it is not there. */
  discard(path: string): void {
    if (!lstatSync(path, { throwIfNoEntry: false })) return;
    const place = this.#places.find(({ root }) => path.startsWith(`${root}/`)) ?? this.#places[0]!;
    if (dirname(path) === place.overlay) releaseLimits(path);
    const parent = path.startsWith(`${place.overlay}/`) ? place.contentStaging : place.metadataStaging;
    const bin = this.#bins.get(parent) ?? openStaging(parent);
    this.#bins.set(parent, bin);
    try {
      renameSync(path, join(bin.path, `${this.#counter++}-${basename(path)}`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const bin of this.#bins.values()) {
      try {
        await bin[Symbol.asyncDispose]();
      } catch (error) {
        this.#logger.warn("something removed from the store could not be deleted yet", {
          path: bin.path,
          error: messageOf(error),
        });
      }
    }
  }
}
