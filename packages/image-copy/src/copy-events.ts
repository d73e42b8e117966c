import { linkSignal, OcidError } from "@ocid/base";
import { type CopyOptions, type CopyResult, copyImage } from "./copy-image.ts";
import type { BlobDestination, ImageSource } from "./image-source.ts";
import type { CopyProgress } from "./progress.ts";
import type { StorageDestination } from "./storage-destination.ts";

/**
 * Copies an image and yields what happens; the result is what the iteration returns. Bytes of one blob that nobody has
 * taken yet are told as one event. Leaving the loop cancels the copy.
 */
export async function* copyImageEvents(
  source: ImageSource,
  destination: BlobDestination | StorageDestination,
  options: Omit<CopyOptions, "onProgress"> = {},
): AsyncGenerator<CopyProgress, CopyResult, undefined> {
  const waiting = new Map<string, CopyProgress>();
  let wake = Promise.withResolvers<void>();
  using link = linkSignal(options.signal);
  const copy = copyImage(source, destination, {
    ...options,
    signal: link.signal,
    onProgress(event) {
      waiting.set(`${event.kind} ${event.descriptor.digest}`, event);
      wake.resolve();
    },
  });
  let ended = false;
  const end = () => {
    ended = true;
    wake.resolve();
  };
  copy.then(end, end);
  try {
    while (!ended || waiting.size > 0) {
      await wake.promise;
      wake = Promise.withResolvers();
      const events = [...waiting.values()];
      waiting.clear();
      yield* events;
      if (ended) wake.resolve();
    }
    return await copy;
  } finally {
    if (!ended) {
      link.abort(new OcidError("CANCELLED", `the copy of ${source.name} was cancelled`));
      await copy.catch(() => {});
    }
  }
}
