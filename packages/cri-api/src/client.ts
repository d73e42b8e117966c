import type { DescMethod, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { Client, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { type ErrorCode, OcidError } from "@ocid/base";
import { ImageService, RuntimeService } from "./gen/cri_pb.js";
import { methodDefinition } from "./service-definition.ts";

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Time for the whole call. Default: none. */
  readonly timeoutMs?: number;
}

/** A connection to a service; its methods reject with OcidError of the code that the server sent. */
export type ServiceClient<S> = Disposable &
  (S extends GenService<infer M extends GenServiceMethods>
    ? {
        readonly [K in keyof M]: M[K]["methodKind"] extends "unary"
          ? (
              request: MessageInitShape<M[K]["input"]>,
              options?: CallOptions,
            ) => Promise<MessageShape<M[K]["output"]>>
          : (
              request: MessageInitShape<M[K]["input"]>,
              options?: CallOptions,
            ) => AsyncIterable<MessageShape<M[K]["output"]>>;
      }
    : never);

/** A client of the runtime service. `endpoint` is a socket's path or a `unix://` URL; nothing is sent before the first call. */
export function createRuntimeClient(endpoint: string): ServiceClient<typeof RuntimeService> {
  return createClient(RuntimeService, endpoint);
}

/** A client of the image service. */
export function createImageClient(endpoint: string): ServiceClient<typeof ImageService> {
  return createClient(ImageService, endpoint);
}

/** A client of any service, for other services on the same socket. */
export function createClient<S extends DescService>(service: S, endpoint: string): ServiceClient<S> {
  const path = endpoint.replace(/^unix:(\/\/)?/, "");
  const client = new Client(`unix:${path}`, credentials.createInsecure(), {
    "grpc.max_receive_message_length": 64 * 1024 * 1024,
    "grpc.max_send_message_length": 16 * 1024 * 1024,
  });
  const methods = service.methods.map(method => [
    method.localName,
    method.methodKind === "unary"
      ? unary(client, service, method, path)
      : serverStream(client, service, method, path),
  ]);
  return { ...Object.fromEntries(methods), [Symbol.dispose]: () => client.close() } as ServiceClient<S>;
}

function deadline(options: CallOptions): { deadline?: number } {
  return options.timeoutMs === undefined ? {} : { deadline: Date.now() + options.timeoutMs };
}

function unary(client: Client, service: DescService, method: DescMethod, path: string) {
  const definition = methodDefinition(service, method);
  return (request: unknown, options: CallOptions = {}) =>
    new Promise((resolve, reject) => {
      options.signal?.throwIfAborted();
      const call = client.makeUnaryRequest(
        definition.path,
        definition.requestSerialize,
        definition.responseDeserialize,
        request,
        deadline(options),
        (error, response) => {
          options.signal?.removeEventListener("abort", abort);
          if (error) reject(fromServiceError(error, method.name, path));
          else resolve(response);
        },
      );
      const abort = () => call.cancel();
      options.signal?.addEventListener("abort", abort, { once: true });
    });
}

function serverStream(client: Client, service: DescService, method: DescMethod, path: string) {
  const definition = methodDefinition(service, method);
  return async function* (
    request: unknown,
    options: CallOptions = {},
  ): AsyncGenerator<unknown, void, undefined> {
    options.signal?.throwIfAborted();
    const call = client.makeServerStreamRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      request,
      deadline(options),
    );
    const abort = () => call.cancel();
    options.signal?.addEventListener("abort", abort, { once: true });
    try {
      for await (const message of call) yield message;
    } catch (error) {
      throw fromServiceError(error as ServiceError, method.name, path);
    } finally {
      options.signal?.removeEventListener("abort", abort);
      call.cancel();
    }
  };
}

function fromServiceError(error: ServiceError, method: string, path: string): OcidError {
  const code = (status[error.code] ?? "UNKNOWN") as ErrorCode;
  const unreachable = code === "UNAVAILABLE" && /^No connection established/.test(error.details);
  const message = unreachable
    ? `no daemon answers at ${path} (${error.details.match(/E[A-Z]+/)?.[0]}); is ocid running, and is this its --listen socket?`
    : error.details;
  return new OcidError(code, message, { cause: error, details: { method } });
}
