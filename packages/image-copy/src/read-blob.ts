import type { Descriptor } from "@ocid/spec";
import type { CallOptions, ImageSource } from "./image-source.ts";

/**
 * A blob's bytes from an offset on, the quick way where the source has one; what that does not bring may yet come as a
 * stream, which also says why not. A piece's memory is used again when the next one is asked for. Nothing is verified.
 */
export async function* readBlob(
  source: Pick<ImageSource, "openBlob" | "receiveBlob">,
  descriptor: Descriptor,
  { offset, signal }: CallOptions & { readonly offset: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  let at = offset;
  if (source.receiveBlob && at < descriptor.size) {
    try {
      for await (const piece of source.receiveBlob(descriptor, { offset, signal })) {
        at += piece.byteLength;
        yield piece;
      }
      if (at >= descriptor.size) return;
    } catch {
      signal?.throwIfAborted();
    }
  }
  yield* source.openBlob(descriptor, { offset: at, signal, verify: false });
}
