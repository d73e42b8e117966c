import type { Duplex } from "node:stream";
import {
  create,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { codeOf, type ErrorCode, errorCodes, messageOf, OcidError } from "@ocid/base";
import { RequestSchema, ResponseSchema } from "../gen/ttrpc_pb.js";
import { Mux } from "./mux.ts";
import {
  encodeTtrpcFrame,
  frameTypes,
  maxMessageBytes,
  readTtrpcFrames,
  type TtrpcFrame,
} from "./ttrpc-frames.ts";

/** Numbers of the two connections that an NRI socket carries. */
export const connections: { readonly plugin: 1; readonly runtime: 2 } = { plugin: 1, runtime: 2 };

/** The functions that answer a service's calls, by method name in camelCase; one that is missing is UNIMPLEMENTED. */
export type Handlers<S> =
  S extends GenService<infer M extends GenServiceMethods>
    ? {
        readonly [K in keyof M]?: (
          request: MessageShape<M[K]["input"]>,
        ) => Promise<MessageInitShape<M[K]["output"]>>;
      }
    : never;

export interface PeerOptions<S extends DescService> {
  readonly trunk: Duplex;
  /** On which connection this side calls; the other is the one on which it serves. */
  readonly callsOn: number;
  readonly servesOn: number;
  readonly serves: S;
  readonly handlers: Handlers<S>;
  readonly onClose: (error: OcidError | undefined) => void;
}

const maxServedAtOnce = 64;

/** One side of an NRI socket, where each side is client on one connection and server on the other. */
export class Peer<S extends DescService> {
  readonly #options: PeerOptions<S>;
  readonly #mux: Mux;
  readonly #waiting = new Map<number, (frame: TtrpcFrame | OcidError) => void>();
  #nextStream = 1;
  #lastServed = 0;
  #serving = 0;
  #open = true;

  constructor(options: PeerOptions<S>) {
    this.#options = options;
    this.#mux = new Mux(options.trunk, error => this.#closed(error));
    const answers = readTtrpcFrames(frame => this.#answered(frame));
    const requests = readTtrpcFrames(frame => void this.#serve(frame));
    this.#mux.receive(options.callsOn, bytes => answers.push(bytes));
    this.#mux.receive(options.servesOn, bytes => requests.push(bytes));
  }

  get isOpen(): boolean {
    return this.#open;
  }

  close(error?: OcidError): void {
    this.#mux.close(error);
  }

  /**
   * Calls the other side. Rejects with the status that it answers; with DEADLINE_EXCEEDED of reason `NoAnswer` after
   * `timeoutMs`; with INVALID_ARGUMENT of reason `Malformed` when the answer cannot be parsed; with RESOURCE_EXHAUSTED
   * for a request that is too large; with UNAVAILABLE when the connection is closed.
   */
  async call<M extends DescMethod>(
    method: M,
    request: MessageInitShape<M["input"]>,
    timeoutMs: number,
  ): Promise<MessageShape<M["output"]>> {
    const message = toBinary(
      RequestSchema,
      create(RequestSchema, {
        service: method.parent.typeName,
        method: method.name,
        payload: toBinary(method.input, create(method.input, request)),
        timeoutNano: BigInt(timeoutMs) * 1_000_000n,
      }),
    );
    if (message.byteLength > maxMessageBytes)
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `${method.name} would send ${message.byteLength} bytes, more than ${maxMessageBytes}`,
      );
    const answer = await this.#exchange(method.name, message, timeoutMs);
    const { payload, status } = parse("answer", () => fromBinary(ResponseSchema, answer));
    if (status && status.code !== 0)
      throw new OcidError(
        codeOfStatus(status.code),
        status.message.slice(0, 4096) || `${method.name} failed`,
      );
    return parse(`answer to ${method.name}`, () => fromBinary(method.output, payload)) as MessageShape<
      M["output"]
    >;
  }

  async #exchange(what: string, message: Uint8Array, timeoutMs: number): Promise<Buffer> {
    const stream = this.#nextStream;
    this.#nextStream += 2;
    return await new Promise<Buffer>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(stream);
        const text = `no answer to ${what} within ${timeoutMs} ms`;
        reject(new OcidError("DEADLINE_EXCEEDED", text, { reason: "NoAnswer" }));
      }, timeoutMs);
      this.#waiting.set(stream, frame => {
        clearTimeout(timer);
        this.#waiting.delete(stream);
        if (frame instanceof OcidError) reject(frame);
        else resolve(frame.message);
      });
      if (this.#open)
        this.#mux.send(this.#options.callsOn, encodeTtrpcFrame(stream, frameTypes.request, message));
      else this.#waiting.get(stream)?.(new OcidError("UNAVAILABLE", "the connection is closed"));
    });
  }

  #answered(frame: TtrpcFrame): void {
    if (frame.type !== frameTypes.response)
      throw new OcidError("INTERNAL", `a frame of type ${frame.type} instead of an answer`);
    // An answer that comes after its time is nobody's.
    this.#waiting.get(frame.stream)?.(frame);
  }

  async #serve(frame: TtrpcFrame): Promise<void> {
    if (frame.type !== frameTypes.request || frame.stream % 2 !== 1 || frame.stream <= this.#lastServed) {
      this.close(new OcidError("INTERNAL", `not a request: type ${frame.type}, stream ${frame.stream}`));
      return;
    }
    this.#lastServed = frame.stream;
    if (this.#serving >= maxServedAtOnce) {
      this.close(new OcidError("RESOURCE_EXHAUSTED", `more than ${maxServedAtOnce} requests at once`));
      return;
    }
    this.#serving++;
    const response = await this.#answer(frame.message).then(
      payload => create(ResponseSchema, { payload }),
      error =>
        create(ResponseSchema, {
          status: { code: errorCodes.indexOf(codeOf(error)) + 1, message: messageOf(error) },
        }),
    );
    this.#serving--;
    this.#mux.send(
      this.#options.servesOn,
      encodeTtrpcFrame(frame.stream, frameTypes.response, toBinary(ResponseSchema, response)),
    );
  }

  async #answer(message: Buffer): Promise<Uint8Array> {
    const { serves, handlers } = this.#options;
    const request = parse("request", () => fromBinary(RequestSchema, message));
    const method = serves.methods.find(({ name }) => name === request.method);
    const handler = method && (handlers as Record<string, unknown>)[method.localName];
    if (request.service !== serves.typeName || typeof handler !== "function")
      throw new OcidError(
        "UNIMPLEMENTED",
        `${request.service.slice(0, 100)}/${request.method.slice(0, 100)} is not served here`,
      );
    const result = await handler(parse(method!.name, () => fromBinary(method!.input, request.payload)));
    return toBinary(method!.output, create(method!.output, result));
  }

  #closed(error: OcidError | undefined): void {
    this.#open = false;
    const reason = error ?? new OcidError("UNAVAILABLE", "the connection was closed");
    for (const answer of [...this.#waiting.values()]) answer(reason);
    this.#options.onClose(error);
  }
}

function parse<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new OcidError("INVALID_ARGUMENT", `malformed ${what}: ${messageOf(error)}`, {
      reason: "Malformed",
    });
  }
}

function codeOfStatus(code: number): ErrorCode {
  return errorCodes[code - 1] ?? "UNKNOWN";
}
