import { setImmediate as turn } from "node:timers/promises";
import {
  create,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";

/** Far below what any client accepts as one message (16 MiB in the kubelet). */
const maxBytes = 1024 * 1024;
const maxItems = 500;

/**
 * A list as the messages of a stream: as many items each as fit into 1 MiB, at most 500. The next ones are asked for
 * when the caller comes back, so that a slow client holds the list up instead of filling the memory.
 */
export async function* inChunks<S extends DescMessage>(
  schema: S,
  items: Iterable<MessageInitShape<S>> | AsyncIterable<MessageInitShape<S>>,
): AsyncGenerator<MessageShape<S>[], void, undefined> {
  const messages = mapped(items, item => create(schema, item));
  yield* chunks(messages, message => toBinary(schema, message).byteLength);
}

/** The same of items that are encoded already. */
export function inEncodedChunks(
  items: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array[], void, undefined> {
  return chunks(items, ({ byteLength }) => byteLength);
}

async function* mapped<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  map: (item: T) => R,
): AsyncGenerator<R, void, undefined> {
  for await (const item of items) yield map(item);
}

async function* chunks<T>(
  items: AsyncIterable<T>,
  sizeOf: (item: T) => number,
): AsyncGenerator<T[], void, undefined> {
  let chunk: T[] = [];
  let bytes = 0;
  for await (const item of items) {
    const size = sizeOf(item);
    if (chunk.length === maxItems || (chunk.length > 0 && bytes + size > maxBytes)) {
      yield chunk;
      await turn();
      chunk = [];
      bytes = 0;
    }
    chunk.push(item);
    bytes += size;
  }
  if (chunk.length > 0) yield chunk;
}
