import { OcidError } from "./error.ts";

/** Reads a whole stream into memory, failing with RESOURCE_EXHAUSTED as soon as it exceeds `capBytes`; `what` names it in the error. */
export async function readCapped(
  source: AsyncIterable<Uint8Array>,
  capBytes: number,
  what: string,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of source) {
    size += chunk.byteLength;
    if (size > capBytes)
      throw new OcidError("RESOURCE_EXHAUSTED", `${what} is larger than the limit of ${capBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}
