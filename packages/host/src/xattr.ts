import { errnoOf } from "./errno.ts";
import { call, cString, shown } from "./sys.ts";

/** A path stands for itself, a symlink included (l*xattr(2)); a number is an open descriptor. */
type Target = string | Uint8Array | number;

/** Sets an extended attribute. */
export function setXattr(target: string | Uint8Array | number, name: string, value: Uint8Array): void {
  const about = `${name} of ${named(target)}`;
  if (typeof target === "number") call("fsetxattr", about, target, cString(name), value, value.byteLength, 0);
  else call("lsetxattr", about, cString(target), cString(name), value, value.byteLength, 0);
}

/** An extended attribute; undefined when there is none of that name. */
export function getXattr(target: string | Uint8Array | number, name: string): Buffer | undefined {
  const about = `${name} of ${named(target)}`;
  const key = cString(name);
  return ignoring(["ENODATA", "EOPNOTSUPP"], () =>
    read(buffer =>
      typeof target === "number"
        ? call("fgetxattr", about, target, key, buffer, buffer.byteLength)
        : call("lgetxattr", about, cString(target), key, buffer, buffer.byteLength),
    ),
  );
}

/** Names of the extended attributes; none where the file system has none. */
export function listXattrs(target: string | Uint8Array | number): readonly string[] {
  const about = named(target);
  const list = ignoring(["EOPNOTSUPP"], () =>
    read(buffer =>
      typeof target === "number"
        ? call("flistxattr", about, target, buffer, buffer.byteLength)
        : call("llistxattr", about, cString(target), buffer, buffer.byteLength),
    ),
  );
  if (!list) return [];
  return list
    .toString("utf8")
    .split("\0")
    .filter(name => name !== "");
}

export function removeXattr(target: string | Uint8Array | number, name: string): void {
  const about = `${name} of ${named(target)}`;
  if (typeof target === "number") call("fremovexattr", about, target, cString(name));
  else call("lremovexattr", about, cString(target), cString(name));
}

function named(target: Target): string {
  return typeof target === "number" ? `descriptor ${target}` : shown(target);
}

// XATTR_SIZE_MAX and XATTR_LIST_MAX are 64 KiB: most fit the first try, all fit the second.
function read(fill: (buffer: Buffer) => number): Buffer {
  const small = Buffer.alloc(256);
  try {
    return small.subarray(0, fill(small));
  } catch (error) {
    if (errnoOf(error) !== "ERANGE") throw error;
  }
  const large = Buffer.alloc(65_536);
  return large.subarray(0, fill(large));
}

function ignoring<T>(errnos: readonly string[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (errnos.includes(errnoOf(error) ?? "")) return undefined;
    throw error;
  }
}
