import { callRaw } from "./sys.ts";

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
