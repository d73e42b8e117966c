import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

const nothing = new Uint8Array(0);

/**
 * Encoded messages as fields of the message that holds them (protobuf, "Encoding", "Length Types"), each as one more
 * `field`; `before` are fields of that message that are encoded already.
 */
export function embed(
  field: number,
  messages: Iterable<Uint8Array>,
  before: Uint8Array = nothing,
): Uint8Array<ArrayBuffer> {
  const writer = new BinaryWriter().raw(before);
  for (const message of messages) writer.tag(field, WireType.LengthDelimited).bytes(message);
  return writer.finish();
}
