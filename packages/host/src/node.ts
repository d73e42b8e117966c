import { atCurrentDirectory, call, cString, shown } from "./sys.ts";

const noFollow = 0x100;

/** Makes a device, fifo or socket node; `mode` carries the type (S_IFCHR …). The umask takes its part (mknod(2)). */
export function makeNode(path: string | Uint8Array, mode: number, major = 0, minor = 0): void {
  call("mknodat", shown(path), atCurrentDirectory, cString(path), mode, makeDevice(major, minor));
}

/** The kernel's number of a device (makedev(3)). */
export function makeDevice(major: number, minor: number): bigint {
  const high = BigInt(major);
  const low = BigInt(minor);
  return (
    ((high & 0xfffff000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffffff00n) << 12n) | (low & 0xffn)
  );
}

export function deviceNumbers(device: bigint): { readonly major: number; readonly minor: number } {
  return {
    major: Number(((device >> 32n) & 0xfffff000n) | ((device >> 8n) & 0xfffn)),
    minor: Number(((device >> 12n) & 0xffffff00n) | (device & 0xffn)),
  };
}

/** Sets access and modification time in nanoseconds since the epoch, of a symlink itself too (utimensat(2)). */
export function setTimes(path: string | Uint8Array, accessNs: bigint, modificationNs: bigint): void {
  call(
    "utimensat",
    shown(path),
    atCurrentDirectory,
    cString(path),
    timespecs(accessNs, modificationNs),
    noFollow,
  );
}

export function setTimesFd(fd: number, accessNs: bigint, modificationNs: bigint): void {
  call("futimens", `descriptor ${fd}`, fd, timespecs(accessNs, modificationNs));
}

const second = 1_000_000_000n;

function timespecs(accessNs: bigint, modificationNs: bigint): Buffer {
  const buffer = Buffer.allocUnsafe(32);
  for (const [at, ns] of [accessNs, modificationNs].entries()) {
    const rest = ((ns % second) + second) % second;
    buffer.writeBigInt64LE((ns - rest) / second, at * 16);
    buffer.writeBigInt64LE(rest, at * 16 + 8);
  }
  return buffer;
}
