import { connect, Socket } from "node:net";
import { OcidError } from "@ocid/base";
import { callRaw } from "./sys.ts";

interface PipeHandle {
  open(fd: number): number;
}

type PipeConstructor = new (type: number) => PipeHandle;

/**
 * A socket over a descriptor that node:net does not know the kind of (SOCK_SEQPACKET, eventfd); one read of the
 * descriptor is one `data` event. Leans on the handle inside node:net: this file is the place to mend should a version
 * of Node change it. The descriptor is closed with the socket, and on failure.
 */
export function socketOver(fd: number, what: string): Socket {
  try {
    const Pipe = pipeConstructor();
    const handle = new Pipe(0);
    if (handle.open(fd) !== 0)
      throw new OcidError("INTERNAL", `${what}: the descriptor cannot be read by this version of Node`);
    return new Socket({
      handle,
      readable: true,
      writable: true,
      allowHalfOpen: true,
    } as unknown as ConstructorParameters<typeof Socket>[0]);
  } catch (error) {
    callRaw("close", fd);
    throw error;
  }
}

let found: PipeConstructor | undefined;

function pipeConstructor(): PipeConstructor {
  if (!found) {
    const probe = connect("/nonexistent") as unknown as {
      _handle?: { constructor: PipeConstructor };
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
