import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ContainerEventResponseSchema, ContainerEventType } from "@ocid/cri-api";
import { containerStatus } from "./container-status.ts";
import type { Container } from "./records.ts";
import { sandboxStatus } from "./sandbox-status.ts";
import { nowNs, type ServerContext } from "./server-context.ts";

type Event = MessageInitShape<typeof ContainerEventResponseSchema>;

/** Tells every listener what happens to containers; a listener that does not keep up is dropped. */
export class ContainerEvents {
  readonly #listeners = new Set<(event: Event) => void>();

  async publish(context: ServerContext, container: Container, type: ContainerEventType): Promise<void> {
    if (this.#listeners.size === 0) return;
    const sandbox = context.records.sandboxes.get(container.sandboxId);
    const siblings = context.records
      .containersOf(container.sandboxId)
      .filter(sibling => sibling.phase === "created");
    const statuses = await Promise.all(
      siblings.map(sibling => containerStatus(context, sibling).catch(() => undefined)),
    );
    const event: Event = {
      containerId: container.id,
      containerEventType: type,
      createdAt: nowNs(),
      ...(sandbox ? { podSandboxStatus: sandboxStatus(sandbox) } : {}),
      containersStatuses: statuses.filter(status => status !== undefined),
    };
    for (const listener of this.#listeners) listener(event);
  }

  async *listen(signal: AbortSignal): AsyncGenerator<Event, void, undefined> {
    const queue: Event[] = [];
    let wake: (() => void) | undefined;
    const listener = (event: Event) => {
      queue.push(event);
      if (queue.length > 10_000) this.#listeners.delete(listener);
      wake?.();
    };
    const abort = () => wake?.();
    this.#listeners.add(listener);
    signal.addEventListener("abort", abort, { once: true });
    try {
      while (!signal.aborted && (queue.length > 0 || this.#listeners.has(listener))) {
        const next = queue.shift();
        if (next) yield next;
        else
          await new Promise<void>(resolve => {
            wake = resolve;
          });
      }
    } finally {
      this.#listeners.delete(listener);
      signal.removeEventListener("abort", abort);
    }
  }
}
