import { closeSync, constants, openSync } from "node:fs";
import { connect as netConnect, Socket } from "node:net";
import { basename, dirname } from "node:path";
import { OcidError } from "@ocid/base";
import { call } from "./sys.ts";

interface PipeHandle {
  open(fd: number): number;
}

/**
 * Connects to a unix socket of type SEQPACKET, which Node cannot do by itself: each `data` event is one packet, each
 * `write` makes one, `end` closes only our direction. Leans on the handle inside node:net; this file is the place to
 * mend should a version of Node change it.
 */
export function connectSeqpacket(path: string): Socket {
  // sockaddr_un ends at 108 bytes; a long directory is reached through its descriptor.
  const directory = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  const fd = call("socket", path, 1, 0x80805, 0); // SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK
  try {
    const name = Buffer.from(`/proc/self/fd/${directory}/${basename(path)}`);
    const address = Buffer.alloc(110);
    address.writeUInt16LE(1, 0);
    name.copy(address, 2, 0, 107);
    call("connect", path, fd, address, 2 + name.byteLength + 1);
  } catch (error) {
    call("close", path, fd);
    throw error;
  } finally {
    closeSync(directory);
  }
  const Pipe = pipeConstructor();
  const handle = new Pipe(0);
  if (handle.open(fd) !== 0) {
    call("close", path, fd);
    throw new OcidError("INTERNAL", `${path}: the socket cannot be read by this version of Node`);
  }
  return new Socket({
    handle,
    readable: true,
    writable: true,
    allowHalfOpen: true,
  } as unknown as ConstructorParameters<typeof Socket>[0]);
}

let found: (new (type: number) => PipeHandle) | undefined;

function pipeConstructor(): new (type: number) => PipeHandle {
  if (!found) {
    const probe = netConnect("/nonexistent") as unknown as {
      _handle?: { constructor: typeof found };
      on(event: "error", listener: () => void): void;
      destroy(): void;
    };
    probe.on("error", () => {});
    found = probe._handle?.constructor;
    probe.destroy();
    if (!found) throw new OcidError("INTERNAL", "this version of Node gives no way to its pipe handles");
  }
  return found;
}
