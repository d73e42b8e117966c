import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";

/** What a handler is called with beside the request. */
export interface CallContext {
  /** Aborted when the caller goes away or its deadline passes. */
  readonly signal: AbortSignal;
  /** When the caller stops waiting, in milliseconds since the epoch. Default: never. */
  readonly deadlineMs?: number | undefined;
}

/** A response that its handler has encoded already. */
export class EncodedMessage {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

/** The functions that implement a service, by method name in camelCase. */
export type HandlersOf<S> =
  S extends GenService<infer M extends GenServiceMethods>
    ? {
        [K in keyof M]: M[K]["methodKind"] extends "unary"
          ? (
              request: MessageShape<M[K]["input"]>,
              context: CallContext,
            ) => Promise<MessageInitShape<M[K]["output"]> | EncodedMessage>
          : (
              request: MessageShape<M[K]["input"]>,
              context: CallContext,
            ) => AsyncIterable<MessageInitShape<M[K]["output"]> | EncodedMessage>;
      }
    : never;

/** A protobuf service as grpc-js wants it: paths and codecs by method. Responses may be given as plain objects. */
export function serviceDefinition(service: DescService): ServiceDefinition {
  return Object.fromEntries(
    service.methods.map(method => [method.localName, methodDefinition(service, method)]),
  );
}

export function methodDefinition(
  service: DescService,
  method: DescMethod,
): MethodDefinition<unknown, unknown> {
  return {
    path: `/${service.typeName}/${method.name}`,
    originalName: method.localName,
    requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
    requestSerialize: serializer(method.input),
    requestDeserialize: bytes => fromBinary(method.input, bytes),
    responseSerialize: serializer(method.output),
    responseDeserialize: bytes => fromBinary(method.output, bytes),
  };
}

function serializer(schema: DescMessage): (value: unknown) => Buffer {
  return value => {
    if (value instanceof EncodedMessage) return asBuffer(value.bytes);
    const message = isMessage(value) ? value : create(schema, value as MessageInitShape<DescMessage>);
    return asBuffer(toBinary(schema, message));
  };
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

function isMessage(value: unknown): value is MessageShape<DescMessage> {
  return typeof value === "object" && value !== null && "$typeName" in value;
}
