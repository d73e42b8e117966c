import type { Writable } from "node:stream";
import { OcidError } from "@ocid/base";
import { connectSeqpacket, errnoOf } from "@ocid/host";
import type { ContainerFiles } from "./container-files.ts";
import { followSizes } from "./exec-session.ts";
import { tellMonitor } from "./monitor.ts";
import type { CallOptions, SessionStreams } from "./types.ts";

/** First byte of each of the monitor's packets. */
const stdoutPacket = 2;
const stderrPacket = 3;

/** Joins a container's streams through its monitor's socket, from now on, until the container ends or the signal is aborted. */
export async function attach(
  files: ContainerFiles,
  streams: SessionStreams,
  options: CallOptions,
): Promise<void> {
  const socket = await connectSeqpacket(files.attachSocket, options).catch((error: unknown) => {
    if (!["ENOENT", "ECONNREFUSED"].includes(errnoOf(error) ?? "")) throw error;
    throw new OcidError("FAILED_PRECONDITION", "the container's monitor has gone, so nobody can attach", {
      cause: error,
    });
  });
  const abort = () => socket.destroy();
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    const closed = new Promise<void>(resolve => {
      socket.once("end", () => socket.destroy());
      // The monitor may be gone before all of the input is written.
      socket.on("error", () => socket.destroy());
      socket.once("close", () => resolve());
    });
    socket.on("data", (packet: Buffer) => {
      const target = targetOf(packet[0], streams);
      if (!target || target.write(packet.subarray(1)) || target.destroyed) return;
      socket.pause();
      target.once("drain", () => socket.resume());
    });
    // The end of the input closes our direction only; the monitor closes the container's stdin if it was made so.
    streams.stdin?.pipe(socket);
    void followSizes(streams.resizes, ({ width, height }) => tellMonitor(files, `1 ${height} ${width}\n`));
    if (options.signal?.aborted) abort();
    await closed;
    options.signal?.throwIfAborted();
  } finally {
    options.signal?.removeEventListener("abort", abort);
    streams.stdin?.unpipe(socket);
    socket.destroy();
  }
}

function targetOf(kind: number | undefined, streams: SessionStreams): Writable | undefined {
  return kind === stdoutPacket ? streams.stdout : kind === stderrPacket ? streams.stderr : undefined;
}
