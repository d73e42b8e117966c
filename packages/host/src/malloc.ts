import { callBeside, callRaw } from "./sys.ts";

/**
 * Lets glibc keep at most `count` arenas for the memory of this process (mallopt(3), M_ARENA_MAX). By default each
 * thread comes to one of its own, up to eight for a processor, and what is freed in one stays with it: in a program
 * with many threads and a long life that is memory for nothing. Threads that have an arena already keep it, so it is
 * to be called early. Another libc than glibc has no such limit, and none is set.
 */
export function limitMallocArenas(count: number): void {
  try {
    callRaw("mallopt", -8, count);
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
