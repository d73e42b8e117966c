import type { StreamingBackend } from "@ocid/streaming";
import { execProcess } from "./exec-sync.ts";
import type { ServerContext } from "./server-context.ts";

/** What the streaming server's sessions reach: containers and pods as they are when the client has come. */
export function createStreamingBackend(context: ServerContext): StreamingBackend {
  const { records, ports } = context;
  return {
    async exec({ containerId, argv, tty }, streams, signal) {
      const { id } = records.getContainer(containerId);
      const process = await execProcess(context, id, argv, tty);
      context.logger.info("exec session", { container: id, tty });
      return await ports.runtime.exec(id, process, streams, { signal });
    },
    async attach({ containerId }, streams, signal) {
      const { id, config } = records.getContainer(containerId);
      context.logger.info("attach session", { container: id, tty: config.tty });
      const { stdin, resizes, ...outputs } = streams;
      // What the container was not made with would only confuse its monitor.
      await ports.runtime.attach(
        id,
        { ...outputs, ...(config.stdin ? { stdin } : {}), ...(config.tty ? { resizes } : {}) },
        { signal },
      );
    },
    async portForward({ sandboxId, port }, signal) {
      const sandbox = records.getSandbox(sandboxId);
      // A pod on the node's network has no namespace of its own.
      const netns = sandbox.namespaces.net ?? "/proc/self/ns/net";
      return await ports.node.connectInNamespace(netns, port, { signal });
    },
  };
}
