import type { Duplex, Readable, Writable } from "node:stream";

/** Columns and lines of a terminal, in characters. */
export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

/** Streams of an exec or attach session; only those that were asked for. */
export interface SessionStreams {
  readonly stdin?: Readable | undefined;
  readonly stdout?: Writable | undefined;
  readonly stderr?: Writable | undefined;
  /** Terminal sizes as they change; only with a terminal. */
  readonly resizes?: AsyncIterable<TerminalSize> | undefined;
}

export interface ExecRequest {
  readonly containerId: string;
  readonly argv: readonly string[];
  readonly tty: boolean;
}

export interface AttachRequest {
  readonly containerId: string;
  readonly tty: boolean;
}

export interface PortForwardRequest {
  readonly sandboxId: string;
  readonly port: number;
}

/**
 * What a streaming server needs of whoever runs containers. The signal is aborted when the client goes away; the
 * server ends the streams when a call has come to its end.
 */
export interface StreamingBackend {
  exec(
    request: ExecRequest,
    streams: SessionStreams,
    signal: AbortSignal,
  ): Promise<{ readonly exitCode: number }>;
  attach(request: AttachRequest, streams: SessionStreams, signal: AbortSignal): Promise<void>;
  /** A connection to a TCP port inside a pod's network. */
  portForward(request: PortForwardRequest, signal: AbortSignal): Promise<Duplex>;
}

/** Which streams a client wants of a session. */
export interface WantedStreams {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** What a URL is issued for. */
export type StreamingRequest =
  | ({ readonly kind: "exec" } & ExecRequest & WantedStreams)
  | ({ readonly kind: "attach" } & AttachRequest & WantedStreams)
  /** `ports` is what WebSocket clients without a tunnel get channels for; others name a port with each stream. */
  | { readonly kind: "portforward"; readonly sandboxId: string; readonly ports: readonly number[] };

export type SessionRequest = Extract<StreamingRequest, { kind: "exec" | "attach" }>;
export type ForwardRequest = Extract<StreamingRequest, { kind: "portforward" }>;
