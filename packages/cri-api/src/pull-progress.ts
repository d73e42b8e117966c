import { Client, credentials, type ServerWritableStream, type ServiceDefinition } from "@grpc/grpc-js";

/** How far a pull is; the CRI has no call for it, so it stands beside the CRI's services on the same socket, as JSON. */
export interface PullProgress {
  /** As it was asked for. */
  readonly image: string;
  readonly copiedBytes: number;
  /** Grows while it is found out. */
  readonly totalBytes: number;
  readonly layers: readonly {
    readonly digest: string;
    readonly size: number;
    readonly bytes: number;
    readonly state: "start" | "bytes" | "done" | "skipped";
  }[];
}

const encode = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const decode = (bytes: Buffer): unknown => JSON.parse(bytes.toString());
const path = "/ocid.v1.PullService/Watch";

/** `ocid.v1.PullService`: one call, which tells of every pull that is under way. */
export const pullServiceDefinition: ServiceDefinition = {
  watch: {
    path,
    requestStream: false,
    responseStream: true,
    requestSerialize: encode,
    requestDeserialize: decode,
    responseSerialize: encode,
    responseDeserialize: decode,
  },
};

export type PullWatcher = ServerWritableStream<unknown, PullProgress>;

/** Follows the pulls of a daemon until the signal; ends quietly when the daemon does not tell of them. */
export async function* watchPulls(
  endpoint: string,
  signal: AbortSignal,
): AsyncGenerator<PullProgress, void, undefined> {
  const client = new Client(`unix:${endpoint.replace(/^unix:(\/\/)?/, "")}`, credentials.createInsecure());
  const call = client.makeServerStreamRequest(path, encode, decode, {});
  const abort = () => call.cancel();
  signal.addEventListener("abort", abort, { once: true });
  try {
    for await (const message of call) yield message as PullProgress;
  } catch {
    // Cancelled, or a daemon without the service: there is just no progress to show.
  } finally {
    signal.removeEventListener("abort", abort);
    call.cancel();
    client.close();
  }
}
