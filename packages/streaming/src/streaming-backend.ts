import type { Duplex, Readable, Writable } from "node:stream";

/** Streams of an exec or attach session; only those that were asked for. */
export interface SessionStreams {
  readonly stdin?: Readable | undefined;
  readonly stdout?: Writable | undefined;
  readonly stderr?: Writable | undefined;
  /** Terminal sizes as they change, in characters; only with a terminal. */
  readonly resizes?: AsyncIterable<{ readonly width: number; readonly height: number }> | undefined;
}

/** What a streaming server needs of whoever runs containers. The signal is aborted when the client goes away. */
export interface StreamingBackend {
  exec(
    request: { readonly containerId: string; readonly argv: readonly string[]; readonly tty: boolean },
    streams: SessionStreams,
    signal: AbortSignal,
  ): Promise<{ readonly exitCode: number }>;
  attach(
    request: { readonly containerId: string; readonly tty: boolean },
    streams: SessionStreams,
    signal: AbortSignal,
  ): Promise<void>;
  /** A connection to a TCP port inside a pod's network. */
  portForward(
    request: { readonly sandboxId: string; readonly port: number },
    signal: AbortSignal,
  ): Promise<Duplex>;
}
