import { OcidError, wrapError } from "@ocid/base";

export type CopySide = "source" | "destination";

/** Says on which side of a copy something failed, in the message and in `details.side`; what already says so stays. */
export function sideError(side: CopySide, name: string, error: unknown): OcidError {
  const wrapped = wrapError(`${side} ${name}`, error);
  if ((error as OcidError | undefined)?.details?.["side"] !== undefined && wrapped.details !== undefined)
    return error as OcidError;
  return new OcidError(wrapped.code, wrapped.message, {
    reason: wrapped.reason,
    details: { ...wrapped.details, side },
    cause: error,
  });
}

export async function onSide<T>(side: CopySide, name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw sideError(side, name, error);
  }
}

/** The same for bytes that are read. */
export async function* readingFrom(
  name: string,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = chunks[Symbol.asyncIterator]();
  let ended = false;
  try {
    for (;;) {
      const next = await onSide("source", name, () => iterator.next());
      ended = next.done === true;
      if (next.done) return;
      yield next.value;
    }
  } finally {
    if (!ended) await iterator.return?.();
  }
}
