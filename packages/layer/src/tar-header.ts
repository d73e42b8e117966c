import { OcidError } from "@ocid/base";

export const blockBytes = 512;

export type TarType = "file" | "directory" | "symlink" | "hardlink" | "character" | "block" | "fifo";

/** A tar entry's header with its extensions applied (POSIX.1-2001 pax, GNU tar). */
export interface TarHeader {
  readonly type: TarType;
  /** As it stands in the archive: not cleaned. Bytes when it is not UTF-8. */
  readonly name: string | Buffer;
  readonly linkName: string | Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content in the archive. */
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint | undefined;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: readonly (readonly [string, Buffer])[];
  /** Where the content belongs in a sparse file, and the file's full size. */
  readonly sparse:
    | {
        readonly size: number;
        readonly parts: readonly (readonly [offset: number, length: number])[] | undefined;
      }
    | undefined;
}

/** Values that an extended header sets for the next entry. */
export type PaxRecords = ReadonlyMap<string, Buffer>;

const types: Readonly<Record<string, TarType>> = {
  "0": "file",
  "\0": "file",
  "7": "file",
  S: "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "character",
  "4": "block",
  "5": "directory",
  "6": "fifo",
};

/** The fields of a block that is a header, before extensions. */
export interface RawHeader {
  readonly typeflag: string;
  readonly size: number;
  /** Valid as long as what it was read from. */
  readonly block: Buffer;
}

/** Reads a 512-byte header; undefined for a block of zeros. DATA_LOSS when its checksum is wrong. */
export function readRawHeader(block: Buffer): RawHeader | undefined {
  const stated = octal(block, 148, 8);
  let sum = 8 * 0x20;
  for (let at = 0; at < 148; at++) sum += block[at]!;
  for (let at = 156; at < blockBytes; at++) sum += block[at]!;
  if (sum === 256 && isZero(block)) return undefined;
  if (stated !== sum && stated !== signedSum(block))
    throw new OcidError("DATA_LOSS", "archive is damaged: a header's checksum is wrong");
  return { typeflag: String.fromCharCode(block[156]!), size: number(block, 124, 12, "size"), block };
}

export function isZero(block: Uint8Array): boolean {
  for (const byte of block) if (byte !== 0) return false;
  return true;
}

function signedSum(block: Buffer): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < blockBytes; at++) if (at < 148 || at >= 156) sum += block.readInt8(at);
  return sum;
}

/** Completes a header with what extended headers and GNU's long names said. */
export function completeHeader(
  raw: RawHeader,
  pax: PaxRecords,
  longName: Buffer | undefined,
  longLink: Buffer | undefined,
): TarHeader {
  const { block } = raw;
  const nameBytes = pax.get("GNU.sparse.name") ?? pax.get("path") ?? longName ?? ustarName(block);
  const linkBytes =
    pax.get("linkpath") ?? longLink ?? (block[157] === 0 ? undefined : field(block, 157, 100));
  if (nameBytes.includes(0) || linkBytes?.includes(0))
    throw new OcidError("INVALID_ARGUMENT", "archive has a name with a NUL byte in it");
  const name = textOrBytes(nameBytes);
  const type = types[raw.typeflag];
  if (!type)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `archive entry ${show(name)} has the unknown type ${JSON.stringify(raw.typeflag)}`,
    );
  const size = paxNumber(pax, "size") ?? raw.size;
  if (size < 0) throw new OcidError("INVALID_ARGUMENT", `archive entry ${show(name)} has a negative size`);
  const sparse = sparseOf(raw, pax);
  if (sparse && sparse.size < 0)
    throw new OcidError("INVALID_ARGUMENT", `archive entry ${show(name)} has a negative size`);
  const isDirectory = type === "directory" || (type === "file" && nameBytes.at(-1) === 0x2f);
  return {
    type: isDirectory ? "directory" : type,
    name,
    linkName: linkBytes === undefined ? "" : textOrBytes(linkBytes),
    mode: number(block, 100, 8, "mode") & 0o7777,
    uid: id(paxNumber(pax, "uid") ?? number(block, 108, 8, "uid"), name),
    gid: id(paxNumber(pax, "gid") ?? number(block, 116, 8, "gid"), name),
    size: type === "file" ? size : 0,
    mtimeNs: paxTime(pax, "mtime") ?? BigInt(number(block, 136, 12, "mtime")) * 1_000_000_000n,
    atimeNs: paxTime(pax, "atime"),
    major: type === "character" || type === "block" ? number(block, 329, 8, "device") : 0,
    minor: type === "character" || type === "block" ? number(block, 337, 8, "device") : 0,
    xattrs: xattrsOf(pax),
    sparse,
  };
}

function sparseOf(raw: RawHeader, pax: PaxRecords): TarHeader["sparse"] {
  if (raw.typeflag === "S") return { size: number(raw.block, 483, 12, "size"), parts: undefined };
  if (pax.get("GNU.sparse.major") !== undefined)
    return { size: paxNumber(pax, "GNU.sparse.realsize") ?? 0, parts: undefined };
  const map = pax.get("GNU.sparse.map");
  const size = paxNumber(pax, "GNU.sparse.size");
  if (size === undefined) return undefined;
  const numbers = (map ?? Buffer.alloc(0)).toString("latin1").split(",").filter(Boolean).map(Number);
  const parts = Array.from(
    { length: numbers.length >> 1 },
    (_, at) => [numbers[2 * at]!, numbers[2 * at + 1]!] as const,
  );
  return { size, parts };
}

/** Parses the records of a pax extended header: `length key=value\n`. Values are bytes. */
export function parsePax(content: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  const sparse: string[] = [];
  let sparseOffset: string | undefined;
  for (let at = 0; at < content.byteLength; ) {
    const space = content.indexOf(0x20, at);
    const length =
      space === -1 || space - at > 10 ? Number.NaN : Number(content.toString("latin1", at, space));
    const end = at + length;
    const equals = content.indexOf(0x3d, space);
    if (
      !Number.isInteger(length) ||
      length < 5 ||
      end > content.byteLength ||
      content[end - 1] !== 0x0a ||
      equals === -1 ||
      equals >= end
    ) {
      throw new OcidError("DATA_LOSS", "archive is damaged: an extended header cannot be read");
    }
    const key = content.toString("utf8", space + 1, equals);
    const value = content.subarray(equals + 1, end - 1);
    // GNU's sparse format 0.0 repeats two keys, one pair for each part.
    if (key === "GNU.sparse.offset") sparseOffset = value.toString("latin1");
    else if (key === "GNU.sparse.numbytes") sparse.push(`${sparseOffset},${value.toString("latin1")}`);
    else records.set(key, Buffer.from(value));
    at = end;
  }
  // Joined once: a map of a megabyte that grew by copying itself would take seconds.
  if (sparse.length > 0) records.set("GNU.sparse.map", Buffer.from(sparse.join(",")));
  return records;
}

function xattrsOf(pax: PaxRecords): readonly (readonly [string, Buffer])[] {
  if (pax.size === 0) return [];
  return [...pax]
    .filter(([key]) => key.startsWith("SCHILY.xattr."))
    .map(([key, value]) => [key.slice("SCHILY.xattr.".length), value] as const);
}

function ustarName(block: Buffer): Buffer {
  const name = field(block, 0, 100);
  // GNU's magic ends in a space and uses the prefix for other things.
  if (block[345] === 0 || block.toString("latin1", 257, 263) !== "ustar\0") return name;
  return Buffer.concat([field(block, 345, 155), Buffer.from("/"), name]);
}

/** A view of the block. */
function field(block: Buffer, at: number, length: number): Buffer {
  let end = at;
  while (end < at + length && block[end] !== 0) end++;
  return block.subarray(at, end);
}

/** A number in octal, or in GNU's base 256 where the first bit is set. */
function number(block: Buffer, at: number, length: number, what: string): number {
  if ((block[at]! & 0x80) === 0) return octal(block, at, length);
  let value = block[at]! & 0x40 ? -1n : 0n;
  value = (value << 6n) | BigInt(block[at]! & 0x3f);
  for (let next = at + 1; next < at + length; next++) value = (value << 8n) | BigInt(block[next]!);
  const result = Number(value);
  if (!Number.isSafeInteger(result))
    throw new OcidError("INVALID_ARGUMENT", `archive has an entry whose ${what} is out of range: ${value}`);
  return result;
}

function octal(block: Buffer, at: number, length: number): number {
  let value = 0;
  let next = at;
  const end = at + length;
  while (next < end && (block[next] === 0x20 || block[next] === 0)) next++;
  for (; next < end; next++) {
    const digit = block[next]! - 0x30;
    if (digit >= 0 && digit <= 7) value = value * 8 + digit;
    else if (block[next] === 0 || block[next] === 0x20) break;
    else throw new OcidError("DATA_LOSS", "archive is damaged: a header has a number that is not octal");
  }
  return value;
}

function paxNumber(pax: PaxRecords, key: string): number | undefined {
  const text = pax.get(key)?.toString("latin1");
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `archive has an extended header whose ${key} is out of range: ${text.slice(0, 40)}`,
    );
  return value;
}

/** Seconds with any number of decimals, as nanoseconds. */
function paxTime(pax: PaxRecords, key: string): bigint | undefined {
  const text = pax.get(key)?.toString("latin1");
  if (text === undefined) return undefined;
  const match = /^(-?)(\d{1,12})(?:\.(\d*))?$/.exec(text);
  if (!match)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `archive has an extended header whose ${key} is not a time: ${text.slice(0, 40)}`,
    );
  const ns = BigInt(match[2]!) * 1_000_000_000n + BigInt((match[3] ?? "").padEnd(9, "0").slice(0, 9) || 0);
  return match[1] ? -ns : ns;
}

function id(value: number, name: string | Buffer): number {
  // 2^32-1 means "leave it" to chown(2).
  if (value < 0 || value >= 0xffff_ffff)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `archive entry ${show(name)} has an owner that is out of range: ${value}`,
    );
  return value;
}

function textOrBytes(bytes: Buffer): string | Buffer {
  const text = bytes.toString("utf8");
  return text.includes("\ufffd") && !Buffer.from(text).equals(bytes) ? Buffer.from(bytes) : text;
}

/** A name for an error message. */
export function show(name: string | Buffer): string {
  return JSON.stringify(name.toString("utf8").slice(0, 300));
}
