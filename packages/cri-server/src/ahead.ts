/** Results in the order of the items, of which `ahead` are worked on at once; stops when nobody asks for more. */
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
  for (let result = running.shift(); result; result = running.shift()) {
    const value = await result;
    begin();
    yield value;
  }
}
