import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { EncodedMessage } from "@ocid/cri-api";

/**
 * Lists that are asked for every second and change rarely. What a list says of one thing is kept encoded, as a list
 * with that entry alone: encodings of a message one after the other are the encoding of all (protobuf, "Encoding",
 * "Last One Wins"), so an answer is its entries put together. An entry is encoded again when one of `versionOf` changes.
 */
export class EncodedEntries<T extends object, S extends DescMessage> {
  readonly #entries = new WeakMap<T, { readonly version: readonly unknown[]; readonly bytes: Uint8Array }>();
  readonly #schema: S;
  readonly #versionOf: (item: T) => readonly unknown[];
  readonly #listOf: (item: T) => MessageInitShape<S>;

  constructor(
    schema: S,
    versionOf: (item: T) => readonly unknown[],
    listOf: (item: T) => MessageInitShape<S>,
  ) {
    this.#schema = schema;
    this.#versionOf = versionOf;
    this.#listOf = listOf;
  }

  list(items: Iterable<T>): EncodedMessage {
    return new EncodedMessage(Buffer.concat(Array.from(items, item => this.#encoded(item))));
  }

  #encoded(item: T): Uint8Array {
    const version = this.#versionOf(item);
    const known = this.#entries.get(item);
    if (known && version.every((value, at) => value === known.version[at])) return known.bytes;
    const bytes = toBinary(this.#schema, create(this.#schema, this.#listOf(item)));
    this.#entries.set(item, { version, bytes });
    return bytes;
  }
}
