import { errnoOf } from "./errno.ts";
import { call, cString, shown } from "./sys.ts";

/** Sets an extended attribute of the path itself, a symlink included (lsetxattr(2)). */
export function setXattr(path: string | Uint8Array, name: string, value: Uint8Array): void {
  call("lsetxattr", `${name} of ${shown(path)}`, cString(path), cString(name), value, value.byteLength, 0);
}

/** An extended attribute of the path itself; undefined when it has none of that name. */
export function getXattr(path: string | Uint8Array, name: string): Buffer | undefined {
  return ignoring(["ENODATA", "EOPNOTSUPP"], () =>
    read(
      size => (buffer: Buffer) =>
        call("lgetxattr", `${name} of ${shown(path)}`, cString(path), cString(name), buffer, size),
    ),
  );
}

/** Names of the path's extended attributes; none where the file system has none. */
export function listXattrs(path: string | Uint8Array): readonly string[] {
  const list = ignoring(["EOPNOTSUPP"], () =>
    read(size => (buffer: Buffer) => call("llistxattr", shown(path), cString(path), buffer, size)),
  );
  return list
    ? list
        .toString("utf8")
        .split("\0")
        .filter(name => name !== "")
    : [];
}

export function removeXattr(path: string | Uint8Array, name: string): void {
  call("lremovexattr", `${name} of ${shown(path)}`, cString(path), cString(name));
}

function read(reader: (size: number) => (buffer: Buffer) => number): Buffer {
  for (let size = 256; ; size *= 8) {
    const buffer = Buffer.alloc(size);
    try {
      return buffer.subarray(0, reader(size)(buffer));
    } catch (error) {
      if (errnoOf(error) !== "ERANGE" || size > 65_536) throw error;
    }
  }
}

function ignoring<T>(errnos: readonly string[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (errnos.includes(errnoOf(error) ?? "")) return undefined;
    throw error;
  }
}
