import { setTimeout as sleep } from "node:timers/promises";

export interface RetryOptions {
  /** Tries in all, the first included. Default 4. */
  readonly attempts?: number;
  /** Wait before the second try; doubles with each further one. Default 200 ms. */
  readonly baseMs?: number;
  /** Longest wait between two tries. Default 10,000 ms. */
  readonly maxMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Whether this failure may pass. */
  readonly retryable: (error: unknown) => boolean;
  /** A wait that the failure itself asks for (Retry-After), in ms; replaces the computed one. */
  readonly waitMs?: (error: unknown) => number | undefined;
  readonly onRetry?: (error: unknown, attempt: number, waitMs: number) => void;
}

/** Runs `work` until it succeeds, fails for good, or the tries are used up; waits with exponential backoff and full jitter. */
export async function retry<T>(work: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  const { attempts = 4, baseMs = 200, maxMs = 10_000, signal } = options;
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      if (attempt >= attempts || signal?.aborted || !options.retryable(error)) throw error;
      const backoff = Math.min(maxMs, baseMs * 2 ** (attempt - 1));
      const waitMs = options.waitMs?.(error) ?? Math.ceil(backoff * (0.5 + Math.random() / 2));
      options.onRetry?.(error, attempt, waitMs);
      await sleep(waitMs, undefined, signal ? { signal } : {});
    }
  }
}
