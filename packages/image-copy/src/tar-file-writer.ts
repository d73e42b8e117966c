import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { OcidError } from "@ocid/base";

const block = 512;
const maxOctal = 0o77777777777;

/**
 * Writes a tar of regular files whose sizes are known, several at once: each gets its place when it begins. Times are
 * zero, so that the same content gives the same archive. The file has its name once it is complete.
 */
export class TarFileWriter implements AsyncDisposable {
  readonly #path: string;
  readonly #temporary: string;
  #file: Promise<FileHandle> | undefined;
  #end = 0;

  constructor(path: string) {
    this.#path = path;
    this.#temporary = `${path}.tmp-${randomBytes(5).toString("hex")}`;
  }

  /** `content` must yield exactly `size` bytes, or fail; a writer that has failed is of no more use. */
  async add(name: string, size: number, content: AsyncIterable<Uint8Array> | Uint8Array): Promise<void> {
    const header = tarFileHeader(name, size);
    const start = this.#end;
    this.#end += header.byteLength + Math.ceil(size / block) * block;
    this.#file ??= open(this.#temporary, "wx", 0o644);
    const file = await this.#file;
    await writeAt(file, header, start);
    let at = start + header.byteLength;
    const limit = at + size;
    for await (const chunk of content instanceof Uint8Array ? [content] : content) {
      if (at + chunk.byteLength > limit)
        throw new OcidError("DATA_LOSS", `${name} has more than ${size} bytes`);
      await writeAt(file, chunk, at);
      at += chunk.byteLength;
    }
    if (at !== limit)
      throw new OcidError("DATA_LOSS", `${name} has ${size - (limit - at)} bytes, expected ${size}`);
  }

  async commit(): Promise<void> {
    this.#file ??= open(this.#temporary, "wx", 0o644);
    const file = await this.#file;
    await file.truncate(this.#end + 2 * block);
    await file.datasync();
    await file.close();
    this.#file = undefined;
    await rename(this.#temporary, this.#path);
  }

  /** Removes what has not been committed. */
  async [Symbol.asyncDispose](): Promise<void> {
    const file = await this.#file?.catch(() => undefined);
    this.#file = undefined;
    await file?.close();
    if (file) await rm(this.#temporary, { force: true });
  }
}

async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; )
    done += (await file.write(bytes, done, bytes.byteLength - done, position + done)).bytesWritten;
}

/** A ustar header, with a pax header before it where name or size do not fit. */
function tarFileHeader(name: string, size: number): Buffer {
  const own = ustar(name.slice(0, 100), size > maxOctal ? 0 : size, "0");
  const records = [
    ...(Buffer.byteLength(name) > 100 ? [paxRecord("path", name)] : []),
    ...(size > maxOctal ? [paxRecord("size", String(size))] : []),
  ];
  if (records.length === 0) return own;
  const pax = Buffer.from(records.join(""));
  const padding = Buffer.alloc((block - (pax.byteLength % block)) % block);
  return Buffer.concat([ustar("PaxHeaders/file", pax.byteLength, "x"), pax, padding, own]);
}

/** `length key=value\n`, where the length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest);
  while (length !== Buffer.byteLength(rest) + String(length).length)
    length = Buffer.byteLength(rest) + String(length).length;
  return `${length}${rest}`;
}

function ustar(name: string, size: number, typeflag: "0" | "x"): Buffer {
  const header = Buffer.alloc(block);
  const octal = (value: number, at: number, length: number) =>
    header.write(value.toString(8).padStart(length - 1, "0"), at, "latin1");
  header.write(name, 0, 100);
  octal(0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  header.fill(0x20, 148, 156);
  header.write(typeflag, 156, "latin1");
  header.write("ustar\u000000", 257, "latin1");
  octal(0, 329, 8);
  octal(0, 337, 8);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}
