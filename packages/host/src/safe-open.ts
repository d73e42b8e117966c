import { constants } from "node:fs";
import { errnoName, systemError } from "./errno.ts";
import { callRaw, cString, lastErrno, shown } from "./sys.ts";

const noMagicLinks = 0x02;
const noSymlinks = 0x04;
const beneath = 0x08;
const inRoot = 0x10;

/**
 * Opens a path below a directory as if that were the root: absolute symlinks and `..` stay inside (openat2(2),
 * RESOLVE_IN_ROOT). Close what it returns.
 */
export function openInRoot(rootFd: number, path: string | Uint8Array, flags: number, mode = 0): number {
  return openat2(rootFd, path, flags, mode, inRoot | noMagicLinks);
}

/** Opens a path below a directory through real directories only: no symlink anywhere, no way up. */
export function openBeneath(rootFd: number, path: string | Uint8Array, flags: number, mode = 0): number {
  return openat2(rootFd, path, flags, mode, beneath | noSymlinks | noMagicLinks);
}

function openat2(
  rootFd: number,
  path: string | Uint8Array,
  flags: number,
  mode: number,
  resolve: number,
): number {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(flags | 0o2000000), 0); // O_CLOEXEC
  how.writeBigUInt64LE(BigInt(flags & constants.O_CREAT ? mode : 0), 8);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  const name = cString(path);
  // EAGAIN: something was renamed meanwhile, and the kernel cannot say whether ".." has left the root.
  for (let attempt = 1; ; attempt++) {
    const fd = callRaw("openat2", rootFd, name, how, 24);
    if (fd !== -1) return fd;
    const errno = lastErrno();
    if (errnoName(errno) !== "EAGAIN" || attempt === maxAttempts)
      throw systemError("openat2", errno, shown(path));
  }
}

const maxAttempts = 64;
