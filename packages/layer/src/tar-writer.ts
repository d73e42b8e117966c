import { blockBytes } from "./tar-header.ts";

export interface TarEntryHeader {
  readonly type: "file" | "directory" | "symlink" | "hardlink" | "character" | "block" | "fifo";
  readonly name: Buffer;
  readonly linkName?: Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly major?: number;
  readonly minor?: number;
  readonly xattrs?: readonly (readonly [string, Uint8Array])[];
}

const typeflags = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  character: "3",
  block: "4",
  directory: "5",
  fifo: "6",
} as const;
const maxOctal = 0o77777777777;

/** A pax header where the entry needs one, and the entry's own (POSIX.1-2001); content and padding are the caller's. */
export function tarHeader(entry: TarEntryHeader): Buffer {
  const pax = paxRecords(entry);
  const own = ustar(entry, typeflags[entry.type], entry.size);
  if (pax.byteLength === 0) return own;
  const extension = ustar(
    {
      ...entry,
      name: Buffer.from("PaxHeaders/entry"),
      linkName: Buffer.alloc(0),
      mode: 0o644,
      uid: 0,
      gid: 0,
      major: 0,
      minor: 0,
    },
    "x",
    pax.byteLength,
  );
  return Buffer.concat([extension, pax, padding(pax.byteLength), own]);
}

export function padding(size: number): Buffer {
  return Buffer.alloc((blockBytes - (size % blockBytes)) % blockBytes);
}

/** Two blocks of zeros. */
export const tarEnd: Buffer = Buffer.alloc(2 * blockBytes);

function paxRecords(entry: TarEntryHeader): Buffer {
  const records: Buffer[] = [];
  const add = (key: string, value: Uint8Array | string) =>
    records.push(paxRecord(key, Buffer.from(value as Uint8Array)));
  if (entry.name.byteLength > 100) add("path", entry.name);
  if (entry.linkName && entry.linkName.byteLength > 100) add("linkpath", entry.linkName);
  if (entry.size > maxOctal) add("size", String(entry.size));
  if (entry.uid > 0o7777777) add("uid", String(entry.uid));
  if (entry.gid > 0o7777777) add("gid", String(entry.gid));
  const second = 1_000_000_000n;
  if (entry.mtimeNs % second !== 0n || entry.mtimeNs < 0n) {
    const absolute = entry.mtimeNs < 0n ? -entry.mtimeNs : entry.mtimeNs;
    add(
      "mtime",
      `${entry.mtimeNs < 0n ? "-" : ""}${absolute / second}.${
        String(absolute % second)
          .padStart(9, "0")
          .replace(/0+$/, "") || "0"
      }`,
    );
  }
  for (const [name, value] of entry.xattrs ?? []) add(`SCHILY.xattr.${name}`, value);
  return Buffer.concat(records);
}

/** `length key=value\n`, where the length counts itself. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from("\n")]);
  let length = rest.byteLength + 1;
  while (String(length).length + rest.byteLength !== length) length = String(length).length + rest.byteLength;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function ustar(entry: TarEntryHeader, typeflag: string, size: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, length: number) =>
    block.write(
      value
        .toString(8)
        .padStart(length - 1, "0")
        .slice(-(length - 1)),
      at,
      "latin1",
    );
  entry.name.copy(block, 0, 0, 100);
  octal(entry.mode & 0o7777, 100, 8);
  octal(entry.uid > 0o7777777 ? 0 : entry.uid, 108, 8);
  octal(entry.gid > 0o7777777 ? 0 : entry.gid, 116, 8);
  octal(size > maxOctal ? 0 : size, 124, 12);
  octal(entry.mtimeNs < 0n ? 0 : Number(entry.mtimeNs / 1_000_000_000n), 136, 12);
  block.fill(0x20, 148, 156);
  block.write(typeflag, 156, "latin1");
  entry.linkName?.copy(block, 157, 0, 100);
  block.write("ustar\u000000", 257, "latin1");
  octal(entry.major ?? 0, 329, 8);
  octal(entry.minor ?? 0, 337, 8);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
