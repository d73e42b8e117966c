import { closeSync, constants, openSync } from "node:fs";
import type { Socket } from "node:net";
import { basename, dirname } from "node:path";
import { OcidError } from "@ocid/base";
import { errnoName, systemError } from "./errno.ts";
import { pause } from "./pause.ts";
import { socketOver } from "./pipe-handle.ts";
import { call, callRaw, lastErrno } from "./sys.ts";

export interface SeqpacketOptions {
  readonly signal?: AbortSignal | undefined;
  /** What is longer is written as several packets. Default 32 KiB: conmon reads no more of one. */
  readonly maxPacketBytes?: number;
}

/**
 * Connects to a unix socket of type SEQPACKET, which Node cannot do by itself: each `data` event is one packet, each
 * `write` makes one, `end` closes only our direction. A server whose queue is full is asked again for 5 s (UNAVAILABLE).
 */
export async function connectSeqpacket(path: string, options: SeqpacketOptions = {}): Promise<Socket> {
  const { signal, maxPacketBytes = 32 * 1024 } = options;
  signal?.throwIfAborted();
  const fd = call("socket", path, 1, 0x80805, 0); // SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK
  try {
    await connectDescriptor(fd, path, signal);
  } catch (error) {
    callRaw("close", fd);
    throw error;
  }
  const socket = socketOver(fd, path);
  writePackets(socket, maxPacketBytes);
  return socket;
}

const patienceMs = 5_000;

async function connectDescriptor(fd: number, path: string, signal: AbortSignal | undefined): Promise<void> {
  // sockaddr_un ends at 108 bytes; a long directory is reached through its descriptor.
  const directory = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const name = Buffer.from(`/proc/self/fd/${directory}/${basename(path)}`);
    if (name.byteLength > 107)
      throw new OcidError("INVALID_ARGUMENT", `${path}: the socket's name is too long`);
    const address = Buffer.alloc(110);
    address.writeUInt16LE(1, 0);
    name.copy(address, 2);
    const start = performance.now();
    for (let pauseMs = 1; ; pauseMs = Math.min(50, pauseMs * 2)) {
      if (callRaw("connect", fd, address, 2 + name.byteLength + 1) !== -1) return;
      const errno = lastErrno();
      if (errnoName(errno) !== "EAGAIN" || performance.now() - start > patienceMs)
        throw systemError("connect", errno, path);
      await pause(pauseMs, signal);
    }
  } finally {
    closeSync(directory);
  }
}

/** Keeps Node from gathering several writes into one packet, and from writing one that the other side would cut. */
function writePackets(socket: Socket, maxPacketBytes: number): void {
  const writer = socket as unknown as {
    _writev: unknown;
    _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void;
  };
  const write = writer._write.bind(socket);
  writer._writev = null;
  writer._write = (chunk, encoding, done) => {
    const next = (at: number, error?: Error | null): void => {
      if (error || at >= chunk.byteLength) done(error);
      else
        write(chunk.subarray(at, at + maxPacketBytes), encoding, failed => next(at + maxPacketBytes, failed));
    };
    next(0);
  };
}
