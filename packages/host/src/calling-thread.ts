import { type MessagePort, parentPort, type Worker } from "node:worker_threads";
import { OcidError } from "@ocid/base";
import { fromThreadError, type ThreadError, toThreadError } from "./thread-error.ts";

interface Question<Call> {
  readonly id: number;
  readonly call: Call;
}

type Answer<Reply> =
  | { readonly id: number; readonly reply: Reply }
  | { readonly id: number; readonly error: ThreadError };

/** A thread that answers calls one after the other. */
export interface CallingThread<Call, Reply> extends AsyncDisposable {
  ask(call: Call): Promise<Reply>;
}

/**
 * Starts the thread at the first call, and again after it has died; those who waited then get INTERNAL. It keeps the
 * event loop alive only while it has something to do. `what` names it in errors.
 */
export function createCallingThread<Call, Reply>(
  what: string,
  launch: () => Worker,
): CallingThread<Call, Reply> {
  const waiting = new Map<number, (answer: Answer<Reply>) => void>();
  let worker: Worker | undefined;
  let lastId = 0;
  const start = (): Worker => {
    const started = launch();
    let failure: unknown;
    started.on("message", (answer: Answer<Reply>) => {
      const settle = waiting.get(answer.id);
      waiting.delete(answer.id);
      if (waiting.size === 0) started.unref();
      settle?.(answer);
    });
    started.on("error", error => {
      failure = error;
    });
    started.on("exit", () => {
      if (worker === started) worker = undefined;
      const error = toThreadError(
        new OcidError("INTERNAL", `${what} ended before it answered`, { cause: failure }),
      );
      for (const [id, settle] of waiting) settle({ id, error });
      waiting.clear();
    });
    return started;
  };
  return {
    ask(call) {
      worker ??= start();
      worker.ref();
      const id = ++lastId;
      const question: Question<Call> = { id, call };
      return new Promise((resolve, reject) => {
        waiting.set(id, answer => {
          if ("error" in answer) reject(fromThreadError(answer.error));
          else resolve(answer.reply);
        });
        worker!.postMessage(question);
      });
    },
    async [Symbol.asyncDispose]() {
      await worker?.terminate();
    },
  };
}

/** The other side: answers each call of the thread that launched this one. */
export function answerCalls<Call, Reply>(answer: (call: Call) => Reply): void {
  const port: MessagePort | null = parentPort;
  port?.on("message", ({ id, call }: Question<Call>) => {
    let message: Answer<Reply>;
    try {
      message = { id, reply: answer(call) };
    } catch (error) {
      message = { id, error: toThreadError(error) };
    }
    port.postMessage(message);
  });
}
