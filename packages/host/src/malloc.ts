import { callBeside, callRaw } from "./sys.ts";

export interface MallocLimits {
  /**
   * How many arenas there are at most (M_ARENA_MAX). By default each thread comes to one of its own, up to eight for a
   * processor, and what is freed in one stays with it. Threads that have one already keep it.
   */
  readonly arenas: number;
  /**
   * Pieces of so many bytes and more are mapped by themselves, and go back when they are freed (M_MMAP_THRESHOLD). By
   * default that grows with each one that is freed, up to 32 MiB, and they leave holes in the arenas instead.
   */
  readonly mappedBytes: number;
}

/**
 * Has glibc keep less of what a process frees (mallopt(3)): in a program with many threads and a long life that is memory
 * for nothing. To be called early. Does nothing with another libc.
 */
export function limitMalloc({ arenas, mappedBytes }: MallocLimits): void {
  try {
    callRaw("mallopt", -8, arenas);
    callRaw("mallopt", -3, mappedBytes);
  } catch {
    // No libc.so.6, or one without mallopt.
  }
}

/**
 * Gives the kernel back what glibc has kept of freed memory (malloc_trim(3)); by itself it does so only at the end of an
 * arena, and one small piece there keeps all before it. It takes some milliseconds, on another thread. Does nothing
 * with another libc.
 */
export async function trimMalloc(): Promise<void> {
  try {
    await callBeside("malloc_trim", 0);
  } catch {
    // No libc.so.6, or one without malloc_trim.
  }
}
