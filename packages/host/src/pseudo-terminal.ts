import { closeSync, constants, openSync } from "node:fs";
import type { Socket } from "node:net";
import { socketOver } from "./pipe-handle.ts";
import { call, callRaw } from "./sys.ts";

/** A terminal whose program side is given to a child, and whose other side is ours. */
export interface PseudoTerminal extends Disposable {
  /** What the child writes can be read here, and what is written here it reads. Ends when no child holds the terminal. */
  readonly master: Socket;
  /** For the child's descriptors; close it with `release` once the child has it. */
  readonly childFd: number;
  release(): void;
  /** In characters. The child is told by SIGWINCH only if this is its controlling terminal. */
  resize(size: { readonly width: number; readonly height: number }): void;
}

const unlock = 0x40045431; // TIOCSPTLCK
const getNumber = 0x80045430; // TIOCGPTN
const setSize = 0x5414; // TIOCSWINSZ

/** Opens a pseudoterminal (pty(7)). */
export function openPseudoTerminal(): PseudoTerminal {
  const flags = constants.O_RDWR | constants.O_NOCTTY | 0o2000000; // O_CLOEXEC
  const masterFd = openSync("/dev/ptmx", flags);
  let childFd: number;
  try {
    call("ioctl", "/dev/ptmx", masterFd, unlock, Buffer.alloc(4));
    const number = Buffer.alloc(4);
    call("ioctl", "/dev/ptmx", masterFd, getNumber, number);
    childFd = openSync(`/dev/pts/${number.readInt32LE(0)}`, flags);
  } catch (error) {
    closeSync(masterFd);
    throw error;
  }
  const master = socketOver(masterFd, "/dev/ptmx");
  // A terminal that nobody holds any more answers EIO: that is its end.
  master.on("error", () => master.destroy());
  let held = true;
  const release = () => {
    if (held) closeSync(childFd);
    held = false;
  };
  return {
    master,
    childFd,
    release,
    resize({ width, height }) {
      if (master.destroyed) return;
      const size = Buffer.alloc(8);
      size.writeUInt16LE(height, 0);
      size.writeUInt16LE(width, 2);
      callRaw("ioctl", masterFd, setSize, size);
    },
    [Symbol.dispose]() {
      release();
      master.destroy();
    },
  };
}
