import { type FSWatcher, mkdirSync, readdirSync, watch } from "node:fs";
import type { ShimFiles } from "./container-files.ts";
import type { OomKills } from "./oom-kills.ts";
import type { ExitEvent } from "./types.ts";

/** Sees exit files as they are written: the kernel tells, nobody asks again and again. */
export class ExitWatch implements Disposable {
  readonly #files: ShimFiles;
  readonly #oomKills: OomKills;
  readonly #watcher: FSWatcher;
  readonly #listeners = new Set<(event: ExitEvent) => void>();
  readonly #told = new Set<string>();

  constructor(files: ShimFiles, oomKills: OomKills) {
    this.#files = files;
    this.#oomKills = oomKills;
    mkdirSync(files.exits, { recursive: true, mode: 0o700 });
    this.#watcher = watch(files.exits, (_, name) => {
      if (name) this.#look(name);
    });
    this.#watcher.unref();
    for (const name of readdirSync(files.exits)) this.#look(name);
  }

  [Symbol.dispose](): void {
    this.#watcher.close();
  }

  /** Forgets a container, whose id may be used again. */
  forget(id: string): void {
    this.#told.delete(id);
  }

  /** Resolves when the container has ended; undefined when `timeoutMs` came first. */
  async wait(id: string, timeoutMs: number, signal?: AbortSignal): Promise<ExitEvent | undefined> {
    signal?.throwIfAborted();
    const now = this.#oomKills.exitOf(id);
    if (now) return { id, ...now };
    return await new Promise((resolve, reject) => {
      const settle = (finish: () => void) => {
        clearTimeout(timer);
        clearInterval(again);
        this.#listeners.delete(listener);
        signal?.removeEventListener("abort", abort);
        finish();
      };
      const listener = (event: ExitEvent) => {
        if (event.id === id) settle(() => resolve(event));
      };
      const abort = () => settle(() => reject(signal?.reason));
      const timer = setTimeout(() => settle(() => resolve(undefined)), Math.min(timeoutMs, 2 ** 31 - 1));
      // A kernel that is out of watches tells nothing; a waiting stop must end all the same.
      const again = setInterval(() => this.#look(id), 500);
      this.#listeners.add(listener);
      signal?.addEventListener("abort", abort, { once: true });
      this.#look(id);
    });
  }

  /** Exits from now on, after those that are on disk already. */
  async *events(signal: AbortSignal | undefined): AsyncGenerator<ExitEvent, void, undefined> {
    const queue: ExitEvent[] = [];
    let wake: (() => void) | undefined;
    const listener = (event: ExitEvent) => {
      queue.push(event);
      wake?.();
    };
    const abort = () => wake?.();
    for (const id of this.#told) {
      const exit = this.#oomKills.exitOf(id);
      if (exit) queue.push({ id, ...exit });
    }
    this.#listeners.add(listener);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      while (!signal?.aborted) {
        const next = queue.shift();
        if (next) yield next;
        else
          await new Promise<void>(resolve => {
            wake = resolve;
          });
      }
    } finally {
      this.#listeners.delete(listener);
      signal?.removeEventListener("abort", abort);
    }
  }

  #look(id: string): void {
    if (id.startsWith(".") || !/^[\w.-]+$/.test(id) || this.#files.isUnfinishedExit(id)) return;
    const exit = this.#oomKills.exitOf(id);
    if (!exit) return;
    this.#told.add(id);
    for (const listener of [...this.#listeners]) listener({ id, ...exit });
  }
}
