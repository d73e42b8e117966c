import { type FileHandle, open } from "node:fs/promises";
import { posix } from "node:path";
import { OcidError, wrapError } from "@ocid/base";

/** Where a file's content lies in an archive. */
export interface TarMember {
  readonly offset: number;
  readonly size: number;
}

const block = 512;
const maxMembers = 1_000_000;
const maxExtensionBytes = 1024 * 1024;
const maxLinks = 10;

/**
 * Finds where the files of an uncompressed tar are without reading their content (POSIX.1-2001 pax and GNU long names).
 * Names are normalised; of two files of one name the later counts, as when unpacked; links within the archive are
 * followed. INVALID_ARGUMENT where it is no tar.
 */
export async function readTarIndex(path: string, signal?: AbortSignal): Promise<TarIndex> {
  try {
    const file = await open(path, "r");
    try {
      return await scan(file, signal);
    } finally {
      await file.close();
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw wrapError(`read the archive ${path}`, error);
  }
}

/** Files and links of an archive by name. */
export class TarIndex {
  readonly #files: ReadonlyMap<string, TarMember>;
  readonly #links: ReadonlyMap<string, string>;

  constructor(files: ReadonlyMap<string, TarMember>, links: ReadonlyMap<string, string>) {
    this.#files = files;
    this.#links = links;
  }

  find(name: string): TarMember | undefined {
    let at = posix.normalize(name);
    for (let hops = 0; hops < maxLinks; hops++) {
      const target = this.#links.get(at);
      if (target === undefined) return this.#files.get(at);
      at = target;
    }
    return undefined;
  }
}

async function scan(file: FileHandle, signal: AbortSignal | undefined): Promise<TarIndex> {
  const { size: end } = await file.stat();
  const files = new Map<string, TarMember>();
  const links = new Map<string, string>();
  let next: Extension = {};
  for (let at = 0; at + block <= end; ) {
    signal?.throwIfAborted();
    const header = await readExactly(file, at, block);
    at += block;
    if (header.every(byte => byte === 0)) break;
    const { type, size: statedSize, ...names } = parseHeader(header);
    const size = "xLKg".includes(type) ? statedSize : (next.size ?? statedSize);
    if (at + size > end) throw new OcidError("DATA_LOSS", "it ends in the middle of a file");
    if (type === "x" || type === "L" || type === "K") {
      if (size > maxExtensionBytes)
        throw new OcidError("RESOURCE_EXHAUSTED", `it has a header of ${size} bytes`);
      next = { ...next, ...parseExtension(type, await readExactly(file, at, size)) };
    } else if (type !== "g") {
      const name = posix.normalize(next.path ?? names.name);
      const target = next.linkPath ?? names.linkName;
      files.delete(name);
      links.delete(name);
      if (type === "1") links.set(name, posix.normalize(target));
      else if (type === "2") links.set(name, posix.normalize(posix.join(posix.dirname(name), target)));
      else if (type === "0" || type === "\0" || type === "7") files.set(name, { offset: at, size });
      if (files.size + links.size > maxMembers)
        throw new OcidError("RESOURCE_EXHAUSTED", `it has more than ${maxMembers} files`);
      next = {};
    }
    at += Math.ceil(size / block) * block;
  }
  return new TarIndex(files, links);
}

interface Extension {
  readonly path?: string;
  readonly linkPath?: string;
  readonly size?: number;
}

function parseHeader(header: Buffer): {
  readonly type: string;
  readonly size: number;
  readonly name: string;
  readonly linkName: string;
} {
  let sum = 0;
  for (let at = 0; at < block; at++) sum += at >= 148 && at < 156 ? 0x20 : header[at]!;
  if (sum !== readNumber(header, 148, 8)) throw new OcidError("INVALID_ARGUMENT", "it is not a tar archive");
  const isUstar = header.toString("latin1", 257, 262) === "ustar" && header[262] === 0;
  const prefix = isUstar ? readText(header, 345, 155) : "";
  const name = readText(header, 0, 100);
  return {
    type: String.fromCharCode(header[156]!),
    size: readNumber(header, 124, 12),
    name: prefix === "" ? name : `${prefix}/${name}`,
    linkName: readText(header, 157, 100),
  };
}

function parseExtension(type: "x" | "L" | "K", data: Buffer): Extension {
  if (type === "L") return { path: readText(data, 0, data.byteLength) };
  if (type === "K") return { linkPath: readText(data, 0, data.byteLength) };
  let found: Extension = {};
  for (let at = 0; at < data.byteLength; ) {
    const space = data.indexOf(0x20, at);
    const length = Number(data.toString("latin1", at, space));
    if (space === -1 || !(length > 0) || at + length > data.byteLength)
      throw new OcidError("INVALID_ARGUMENT", "it has a damaged pax header");
    const record = data.toString("utf8", space + 1, at + length - 1);
    const [key, value] = [record.slice(0, record.indexOf("=")), record.slice(record.indexOf("=") + 1)];
    if (key === "path") found = { ...found, path: value };
    if (key === "linkpath") found = { ...found, linkPath: value };
    if (key === "size") found = { ...found, size: checkedSize(Number(value)) };
    at += length;
  }
  return found;
}

/** Octal text, or GNU's base 256 when the first bit is set. */
function readNumber(header: Buffer, at: number, length: number): number {
  if (header[at]! & 0x80) {
    let value = BigInt(header[at]! & 0x7f);
    for (let next = at + 1; next < at + length; next++) value = value * 256n + BigInt(header[next]!);
    return checkedSize(Number(value));
  }
  const text = readText(header, at, length).trim();
  return text === "" ? 0 : checkedSize(Number.parseInt(text, 8));
}

function checkedSize(size: number): number {
  if (!Number.isSafeInteger(size) || size < 0)
    throw new OcidError("INVALID_ARGUMENT", "it has a file of no sensible size");
  return size;
}

function readText(data: Buffer, at: number, length: number): string {
  const end = data.indexOf(0, at);
  return data.toString("utf8", at, end === -1 || end > at + length ? at + length : end);
}

async function readExactly(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, position);
  if (bytesRead !== length) throw new OcidError("DATA_LOSS", "it ends in the middle of a file");
  return buffer;
}
