import { createHash, randomBytes } from "node:crypto";
import { finishDigest } from "@ocid/spec";
import type { TestBlob } from "./memory-repository.ts";

const blockBytes = 512;
const patternBytes = 1024 * 1024;

/**
 * A layer of a given size, a plain tar of one file `large`, that is made as it is read instead of kept in memory. Its
 * content is random, repeated each MiB, or `zeros`.
 */
export function makeLargeLayer(
  contentBytes: number,
  { zeros = false }: { readonly zeros?: boolean } = {},
): TestBlob {
  const header = tarHeader("large", contentBytes);
  const pattern = zeros ? Buffer.alloc(patternBytes) : randomBytes(patternBytes);
  const end = blockBytes + contentBytes;
  const size = Math.ceil(end / blockBytes) * blockBytes + 2 * blockBytes;
  const read = (from: number, to: number): Uint8Array => {
    const bytes = Buffer.alloc(to - from);
    for (let at = from; at < to; ) {
      const inHeader = at < blockBytes;
      const start = inHeader ? at : (at - blockBytes) % patternBytes;
      const source = inHeader ? header : pattern;
      const stop = at >= end ? to : Math.min(to, at + source.byteLength - start, inHeader ? blockBytes : end);
      if (at < end) source.copy(bytes, at - from, start, start + stop - at);
      at = stop;
    }
    return bytes;
  };
  const hash = createHash("sha256");
  for (let at = 0; at < size; at += patternBytes) hash.update(read(at, Math.min(size, at + patternBytes)));
  return { digest: finishDigest(hash), size, read };
}

function tarHeader(name: string, size: number): Buffer {
  const header = Buffer.alloc(blockBytes);
  header.write(name, 0);
  header.write("0000644\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  header.write("        ", 148);
  header.write("0", 156);
  header.write("ustar\u000000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}
