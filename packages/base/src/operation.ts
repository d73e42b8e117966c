import type { AsyncLocalStorage } from "node:async_hooks";
import { type TracingChannel, tracingChannel } from "node:diagnostics_channel";

/** A piece of work whose duration and end somebody may want to know: a call, a program that runs, a request. */
export interface Operation {
  /** Part and verb, of a small closed set, such as `cri.RunPodSandbox`, `runtime.create`, `cni.ADD`, `registry.GET`. */
  readonly name: string;
  /** What it is about: ids, paths, hosts. Never a credential, never a query string. */
  readonly attributes: Readonly<Record<string, string | number>>;
}

interface Event extends Operation {
  error?: unknown;
}

/** Name of the tracing channel (node:diagnostics_channel) that every package publishes its operations on. */
export const operationChannelName = "ocid:operation";

let channel: TracingChannel<Event, Event> | undefined;

/** Made at the first use, so that a bundle for a browser, which has none, can hold this module. */
function operationChannel(): TracingChannel<Event, Event> {
  channel ??= tracingChannel<Event, Event>(operationChannelName);
  return channel;
}

/** Does the work, and publishes its start and its end where somebody listens. Costs next to nothing where nobody does. */
export function traced<T>(operation: Operation, work: () => Promise<T>): Promise<T> {
  const to = operationChannel();
  return to.hasSubscribers ? to.tracePromise(work, operation as Event) : work();
}

export interface OperationObserver {
  /** The same object is given to `end`. */
  start?(operation: Operation): void;
  /** `error` is what the work threw; undefined when it succeeded. */
  end?(operation: Operation, error: unknown): void;
}

/** Hears of every operation of this process until it is disposed of. */
export function observeOperations(observer: OperationObserver): Disposable {
  const failures = new WeakMap<Operation, { readonly error: unknown }>();
  const handlers = {
    start: (event: Event) => observer.start?.(event),
    end() {},
    asyncStart() {},
    asyncEnd: (event: Event) => observer.end?.(event, failures.get(event)?.error),
    error: (event: Event) => void failures.set(event, { error: event.error }),
  };
  operationChannel().subscribe(handlers as never);
  return { [Symbol.dispose]: () => void operationChannel().unsubscribe(handlers as never) };
}

/** Keeps a value for as long as an operation, and for all that it awaits: what a tracer calls the current span. */
export function bindOperations<T>(
  store: AsyncLocalStorage<T>,
  valueAt: (operation: Operation) => T,
): Disposable {
  const { start } = operationChannel();
  start.bindStore(store as never, valueAt as never);
  return { [Symbol.dispose]: () => void start.unbindStore(store as never) };
}
