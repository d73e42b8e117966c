import { setImmediate as turn } from "node:timers/promises";

/**
 * Results in the order of the items, of which `ahead` are worked on at once; stops when nobody asks for more. Others
 * get their turn in between, also when the work waits for nothing.
 */
export async function* mapAhead<T, R>(
  items: Iterable<T>,
  ahead: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const iterator = items[Symbol.iterator]();
  const running: Promise<R>[] = [];
  const begin = () => {
    const next = iterator.next();
    if (next.done) return;
    const result = work(next.value);
    // Reported when its turn comes, if it comes.
    result.catch(() => {});
    running.push(result);
  };
  for (let count = 0; count < ahead; count++) begin();
  let done = 0;
  for (let result = running.shift(); result; result = running.shift()) {
    const value = await result;
    if (++done % ahead === 0) await turn();
    begin();
    yield value;
  }
}
