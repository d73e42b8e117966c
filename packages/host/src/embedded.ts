import type { Koffi } from "./koffi.ts";

// What an executable carries itself. node:sea is only asked where nobody provides anything, so that other packagings
// (and tests) need no single executable.
let koffiLoader: (() => Koffi) | undefined;
let workerSource: ((name: string) => string | undefined) | undefined;

/**
 * Gives the koffi that this thread is to use, loaded at the first system call. Without it koffi comes from the asset
 * `koffi.node` of a single executable, else from node_modules. A worker thread has to be told by its own program.
 */
export function provideKoffi(load: () => unknown): void {
  koffiLoader = load as () => Koffi;
}

/**
 * Gives the source texts (CommonJS) of worker threads by name, such as `sync-worker`. What `read` does not know is
 * looked for as `launchWorker` does without it.
 */
export function provideEmbedded(read: (name: string) => string | undefined): void {
  workerSource = read;
}

export function embeddedKoffi(): Koffi | undefined {
  return koffiLoader?.();
}

/** Source text of a worker that the executable carries: as provided, or the asset `<name>.cjs`. */
export function embeddedWorker(name: string): string | undefined {
  const provided = workerSource?.(name);
  if (provided !== undefined) return provided;
  const sea = process.getBuiltinModule("node:sea");
  return sea.isSea() ? sea.getAsset(`${name}.cjs`, "utf8") : undefined;
}
