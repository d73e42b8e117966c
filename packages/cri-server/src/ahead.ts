import { setImmediate as turn } from "node:timers/promises";

/** What one turn of the event loop may take before others get theirs. */
const sliceMs = 2;

/**
 * Results in the order of the items, of which `ahead` are worked on at once; stops when nobody asks for more. Others
 * get their turn every 2 ms, also when the work waits for nothing.
 */
export async function* mapAhead<T, R>(
  items: Iterable<T>,
  ahead: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const iterator = items[Symbol.iterator]();
  const running: Promise<R>[] = [];
  let sliceBegan = performance.now();
  const begin = async () => {
    const next = iterator.next();
    if (next.done) return;
    const result = work(next.value);
    // Reported when its turn comes, if it comes.
    result.catch(() => {});
    running.push(result);
    if (performance.now() - sliceBegan < sliceMs) return;
    await turn();
    sliceBegan = performance.now();
  };
  for (let count = 0; count < ahead; count++) await begin();
  for (let result = running.shift(); result; result = running.shift()) {
    const value = await result;
    await begin();
    yield value;
  }
}
