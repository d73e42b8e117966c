import { type BigIntStats, constants } from "node:fs";
import { lstat, open, readdir, readlink } from "node:fs/promises";
import { OcidError } from "@ocid/base";
import { deviceNumbers, getXattr, listXattrs } from "@ocid/host";
import { padding, type TarEntryHeader, tarEnd, tarHeader } from "./tar-writer.ts";

export interface LayerTarOptions {
  /** The owner that an entry has in the archive, for trees whose owners are shifted. Default the one on disk. */
  readonly ownerOf?:
    | ((uid: number, gid: number) => { readonly uid: number; readonly gid: number })
    | undefined;
  /** Leaves out what overlayfs notes of removed files, for archives that are not applied to other layers. */
  readonly withoutRemoved?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * A directory as a layer's uncompressed tar: sorted by name, so that the same tree gives the same bytes; hard links,
 * extended attributes and devices kept; overlayfs's whiteouts and opaque directories translated back (image-spec,
 * layer.md, "Representing Changes"). Sockets are left out. FAILED_PRECONDITION for what overlayfs has kept in pieces
 * (`redirect_dir`, `metacopy`): its content is elsewhere.
 */
export async function* createLayerTar(
  directory: string,
  options: LayerTarOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const links = new Map<string, Buffer>();
  yield* walk(Buffer.from(directory), Buffer.alloc(0), links, options);
  yield tarEnd;
}

async function* walk(
  path: Buffer,
  name: Buffer,
  links: Map<string, Buffer>,
  options: LayerTarOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const entries = await readdir(path, { encoding: "buffer" });
  for (const entry of entries.sort(Buffer.compare)) {
    options.signal?.throwIfAborted();
    const child = join(path, entry);
    const childName = name.byteLength === 0 ? entry : join(name, entry);
    const stat = await lstat(child, { bigint: true });
    yield* writeEntry(child, childName, stat, links, options);
    if (stat.isDirectory()) yield* walk(child, childName, links, options);
  }
}

async function* writeEntry(
  path: Buffer,
  name: Buffer,
  stat: BigIntStats,
  links: Map<string, Buffer>,
  options: LayerTarOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const owner = options.ownerOf ?? ((uid: number, gid: number) => ({ uid, gid }));
  const common = {
    mode: Number(stat.mode) & 0o7777,
    ...owner(Number(stat.uid), Number(stat.gid)),
    size: 0,
    mtimeNs: stat.mtimeNs,
  };
  const device = deviceNumbers(stat.rdev);
  if (stat.isCharacterDevice() && device.major === 0 && device.minor === 0) {
    if (options.withoutRemoved) return;
    const slash = name.lastIndexOf(0x2f);
    // When and by whom a file was removed is no part of the change: the same removal gives the same bytes.
    yield tarHeader({
      type: "file",
      mode: 0,
      uid: 0,
      gid: 0,
      size: 0,
      mtimeNs: 0n,
      name: Buffer.concat([name.subarray(0, slash + 1), Buffer.from(".wh."), name.subarray(slash + 1)]),
    });
    return;
  }
  const inode = `${stat.dev}:${stat.ino}`;
  const first = stat.isDirectory() || stat.nlink < 2n ? undefined : links.get(inode);
  if (first) {
    yield tarHeader({ ...common, type: "hardlink", name, linkName: first });
    return;
  }
  if (!stat.isDirectory() && stat.nlink > 1n) links.set(inode, name);
  const xattrs = readXattrs(path, name);
  if (stat.isDirectory()) {
    yield tarHeader({ ...common, type: "directory", name: Buffer.concat([name, Buffer.from("/")]), xattrs });
    const hidesLower = hasXattrs && getXattr(path, "trusted.overlay.opaque")?.toString() === "y";
    if (hidesLower && !options.withoutRemoved)
      yield tarHeader({ ...common, type: "file", mode: 0, name: join(name, Buffer.from(".wh..wh..opq")) });
  } else if (stat.isSymbolicLink())
    yield tarHeader({
      ...common,
      type: "symlink",
      name,
      linkName: await readlink(path, { encoding: "buffer" }),
      xattrs,
    });
  else if (stat.isFile()) {
    yield tarHeader({ ...common, type: "file", name, size: Number(stat.size), xattrs });
    yield* content(path, Number(stat.size), options);
    yield padding(Number(stat.size));
  } else if (!stat.isSocket()) {
    const type: TarEntryHeader["type"] = stat.isFIFO()
      ? "fifo"
      : stat.isCharacterDevice()
        ? "character"
        : "block";
    yield tarHeader({ ...common, type, name, ...(type === "fifo" ? {} : device), xattrs });
  }
}

async function* content(
  path: Buffer,
  size: number,
  options: LayerTarOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    for (let left = size; left > 0; ) {
      options.signal?.throwIfAborted();
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(left, 256 * 1024)));
      if (bytesRead === 0) throw new OcidError("ABORTED", `${path} became shorter while it was read`);
      left -= bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** Those of other systems mean nothing to containers, which run on Linux. */
const hasXattrs = process.platform === "linux";

function readXattrs(path: Buffer, name: Buffer): readonly (readonly [string, Uint8Array])[] {
  if (!hasXattrs) return [];
  const names = listXattrs(path);
  const piece = names.find(key => /^(trusted|user)\.overlay\.(redirect|metacopy)$/.test(key));
  if (piece !== undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `${JSON.stringify(name.toString())} carries ${piece}: its content lies elsewhere, so that the directory alone makes no layer`,
    );
  return names
    .filter(
      name =>
        !name.startsWith("trusted.overlay.") &&
        !name.startsWith("user.overlay.") &&
        name !== "security.selinux",
    )
    .sort()
    .flatMap(name => {
      const value = getXattr(path, name);
      return value === undefined ? [] : [[name, value] as const];
    });
}

function join(path: Buffer, name: Buffer): Buffer {
  return Buffer.concat([path, Buffer.from("/"), name]);
}
