import { once } from "node:events";
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import {
  Metadata,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { codeOf, type Logger, messageOf, OcidError, type Operation, traced } from "@ocid/base";
import type { CallContext } from "@ocid/cri-api";
import { toServiceError } from "./grpc-status.ts";

type Handler = (request: unknown, context: CallContext) => Promise<unknown> | AsyncIterable<unknown>;

/** Calls that the kubelet makes every second; they are logged only when they fail. */
const quiet =
  /^(list|stream|version$|status$|podSandboxStatus|containerStatus|imageStatus|imageFsInfo|podSandboxStats|containerStats|runtimeConfig)/;

/**
 * Handlers as gRPC calls: each with a signal that follows the caller, one line of log, and errors mapped. A method
 * without a handler answers UNIMPLEMENTED by name.
 */
export function instrument(
  service: DescService,
  handlers: Readonly<Record<string, unknown>>,
  logger: Logger,
): UntypedServiceImplementation {
  return Object.fromEntries(
    service.methods.map(method => {
      const handler = (handlers[method.localName] ?? unimplemented(method.name)) as Handler;
      return [
        method.localName,
        method.methodKind === "server_streaming"
          ? streaming(method.localName, handler, logger)
          : unary(method, handler, logger),
      ];
    }),
  );
}

function unimplemented(name: string): Handler {
  return async () => {
    throw new OcidError("UNIMPLEMENTED", `${name} is not implemented`);
  };
}

function unary({ name: method, localName: name }: DescMethod, handler: Handler, logger: Logger) {
  return (call: ServerUnaryCall<unknown, unknown>, answer: sendUnaryData<unknown>) => {
    const { signal, end } = begin(call, name, logger);
    const deadlineMs = Number(call.getDeadline());
    Promise.resolve()
      .then(() =>
        traced(
          callOperation(method, call.request),
          () =>
            handler(call.request, {
              signal,
              ...(Number.isFinite(deadlineMs) ? { deadlineMs } : {}),
            }) as Promise<unknown>,
        ),
      )
      .then(
        response => {
          end();
          answer(null, response);
        },
        error => {
          end(error);
          answer(toServiceError(error, name, logger));
        },
      );
  };
}

function streaming(name: string, handler: Handler, logger: Logger) {
  return (call: ServerWritableStream<unknown, unknown>) => {
    const { signal, end } = begin(call, name, logger);
    const run = async () => {
      // Told before the first message, so that the caller knows that it is listened to.
      call.sendMetadata(new Metadata());
      for await (const message of handler(call.request, { signal }) as AsyncIterable<unknown>) {
        if (signal.aborted) break;
        if (!call.write(message)) await once(call, "drain", { signal }).catch(() => {});
        if (signal.aborted) break;
      }
    };
    run().then(
      () => {
        end();
        call.end();
      },
      error => {
        end(error);
        call.emit("error", toServiceError(error, name, logger));
      },
    );
  };
}

/** A call by its name in the protocol, with the ids that it is about. */
function callOperation(method: string, request: unknown): Operation {
  const { containerId, podSandboxId, image } = request as {
    readonly containerId?: unknown;
    readonly podSandboxId?: unknown;
    readonly image?: { readonly image?: unknown };
  };
  const attributes = { container: containerId, sandbox: podSandboxId, image: image?.image };
  return {
    name: `cri.${method}`,
    attributes: Object.fromEntries(
      Object.entries(attributes).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
    ),
  };
}

function begin(
  call: { on(event: "cancelled", listener: () => void): unknown },
  method: string,
  logger: Logger,
): { readonly signal: AbortSignal; end(error?: unknown): void } {
  const controller = new AbortController();
  const start = performance.now();
  let ended = false;
  call.on("cancelled", () => {
    // Told of every call once its stream is closed; of one that was answered nobody wants to know.
    if (!ended)
      controller.abort(new OcidError("CANCELLED", "the caller has gone, or its deadline has passed"));
  });
  return {
    signal: controller.signal,
    end(error) {
      ended = true;
      const fields = { method, durationMs: Math.round(performance.now() - start) };
      if (error !== undefined)
        logger.warn("call failed", { ...fields, code: codeOf(error, "INTERNAL"), error: messageOf(error) });
      else if (quiet.test(method)) logger.debug("call", fields);
      // After the answer, which goes out first in the event loop's turn: nobody should wait for a line of log.
      else setImmediate(() => logger.info("call", fields));
    },
  };
}
