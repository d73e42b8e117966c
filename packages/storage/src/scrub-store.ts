import { OcidError } from "@ocid/base";
import { launchWorker } from "@ocid/host";
import type { Finding } from "./check-store.ts";

export interface ScrubOptions {
  readonly root: string;
  readonly runRoot: string;
  readonly imageStore?: string | undefined;
  readonly additionalStores?: readonly string[] | undefined;
  /** At most so many bytes are read in a second. */
  readonly bytesPerSecond: number;
}

/** @internal */
export type FromScrubWorker =
  | { readonly finding: Finding }
  | { readonly done: true }
  | { readonly failure: string };

/**
 * Checks everything in a store (as `Store.check` with `deep`) on a thread of the lowest priority, slowly, and returns
 * what is wrong. Nothing is changed. Rejects with the signal's reason, or INTERNAL when the check itself fails.
 */
export async function scrubStore(
  options: ScrubOptions,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<readonly Finding[]> {
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<readonly Finding[]>();
  const findings: Finding[] = [];
  const worker = launchWorker("scrub-worker", new URL("./scrub-worker.ts", import.meta.url), {
    workerData: options,
  });
  const abort = () => reject(signal?.reason);
  const fail = (why: string) =>
    reject(new OcidError("INTERNAL", `the store ${options.root} could not be checked: ${why}`));
  signal?.addEventListener("abort", abort, { once: true });
  worker.on("message", (message: FromScrubWorker) => {
    if ("finding" in message) findings.push(message.finding);
    else if ("done" in message) resolve(findings);
    else fail(message.failure);
  });
  worker.once("error", error => fail(String(error)));
  worker.once("exit", () => fail("its thread has ended"));
  try {
    return await promise;
  } finally {
    signal?.removeEventListener("abort", abort);
    worker.removeAllListeners();
    await worker.terminate();
  }
}
