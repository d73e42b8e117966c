import { linkSignal, Semaphore } from "@ocid/base";

/** Runs pieces of work, `limit` at once and in their order; the first that fails cancels the others, and is what is thrown once all have ended. */
export async function runParallel<T>(
  pieces: readonly ((signal: AbortSignal) => Promise<T>)[],
  limit: number,
  signal?: AbortSignal,
): Promise<readonly T[]> {
  using link = linkSignal(signal);
  const places = new Semaphore(limit);
  let failure: { readonly error: unknown } | undefined;
  const results = await Promise.allSettled(
    pieces.map(async piece => {
      try {
        return await places.run(() => piece(link.signal), link.signal);
      } catch (error) {
        failure ??= { error };
        link.abort(error);
        throw error;
      }
    }),
  );
  signal?.throwIfAborted();
  if (failure) throw failure.error;
  return results.map(result => (result as PromiseFulfilledResult<T>).value);
}
