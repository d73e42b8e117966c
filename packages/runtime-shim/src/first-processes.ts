import type { RuntimeProcess } from "@ocid/spec";
import type { ShimFiles } from "./container-files.ts";

/** Probes run commands in the same containers again and again. */
const kept = 100;

/**
 * How the first processes of containers were set up. What is written in a bundle stays as it is for as long as there is the
 * container, and is parsed once while commands run in it.
 */
export class FirstProcesses {
  readonly #files: ShimFiles;
  readonly #known = new Map<string, RuntimeProcess>();

  constructor(files: ShimFiles) {
    this.#files = files;
  }

  /** NOT_FOUND when the container does not exist. */
  of(id: string): RuntimeProcess {
    const known = this.#known.get(id);
    if (known) return known;
    this.#files.getRecord(id);
    const { process } = this.#files.readSpec(id);
    const [oldest] = this.#known.keys();
    if (this.#known.size === kept) this.#known.delete(oldest!);
    this.#known.set(id, process);
    return process;
  }

  forget(id: string): void {
    this.#known.delete(id);
  }
}
