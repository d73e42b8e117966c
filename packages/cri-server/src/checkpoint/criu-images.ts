import { OcidError } from "@ocid/base";

/** A protobuf message as it is written: each field's values in their order, nothing known of their meaning. */
export type WireMessage = ReadonlyMap<number, readonly (bigint | Uint8Array)[]>;

/** `core-PID.img` (criu, include/magic.h). */
export const coreMagic = 0x55053847;
/** `mountpoints-ID.img`. */
export const mountpointsMagic = 0x55563928;

const commonMagic = 0x54564319;

/**
 * The messages of an image of criu's: two magic numbers, then each message after its length. INVALID_ARGUMENT names the
 * image that is none.
 */
export function readCriuImage(bytes: Uint8Array, magic: number, name: string): readonly WireMessage[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < 8 || view.getUint32(0, true) !== commonMagic || view.getUint32(4, true) !== magic)
    throw noImage(name, "it does not begin as one");
  const messages: WireMessage[] = [];
  for (let at = 8; at < bytes.byteLength; ) {
    if (at + 4 > bytes.byteLength) throw noImage(name, "it is cut off");
    const end = at + 4 + view.getUint32(at, true);
    if (end > bytes.byteLength) throw noImage(name, "it is cut off");
    messages.push(readMessage(bytes.subarray(at + 4, end), name));
    at = end;
  }
  return messages;
}

/** A message in a field that is there once. */
export function messageIn(message: WireMessage, field: number, name: string): WireMessage | undefined {
  const value = bytesIn(message, field, name, "message");
  return value && readMessage(value, name);
}

/** The numbers of a field, one by one or packed. */
export function numbersIn(message: WireMessage, field: number, name: string): readonly bigint[] {
  return (message.get(field) ?? []).flatMap(value => {
    if (typeof value === "bigint") return [value];
    const numbers: bigint[] = [];
    for (let at = 0; at < value.byteLength; ) {
      const [number, next] = readVarint(value, at, name);
      numbers.push(number);
      at = next;
    }
    return numbers;
  });
}

/** The text of a field that is there at most once. */
export function textIn(message: WireMessage, field: number, name: string): string | undefined {
  const value = bytesIn(message, field, name, "text");
  return value && Buffer.from(value).toString("utf8");
}

/** Twice is refused: whoever merges them differently, or takes the other one, would see something else. */
function bytesIn(message: WireMessage, field: number, name: string, what: string): Uint8Array | undefined {
  const values = message.get(field) ?? [];
  const [value] = values;
  if (values.length > 1 || typeof value === "bigint") throw noImage(name, `its field ${field} is no ${what}`);
  return value;
}

/** The wire format (protobuf.dev, "Encoding"); fixed-size fields and groups of it are skipped or refused. */
function readMessage(bytes: Uint8Array, name: string): WireMessage {
  const fields = new Map<number, (bigint | Uint8Array)[]>();
  for (let at = 0; at < bytes.byteLength; ) {
    const [tag, afterTag] = readVarint(bytes, at, name);
    const field = Number(tag >> 3n);
    at = afterTag;
    let value: bigint | Uint8Array;
    switch (tag & 7n) {
      case 0n:
        [value, at] = readVarint(bytes, at, name);
        break;
      case 1n:
        at += 8;
        continue;
      case 2n: {
        const [length, start] = readVarint(bytes, at, name);
        if (length > BigInt(bytes.byteLength - start)) throw noImage(name, "a field is cut off");
        at = start + Number(length);
        value = bytes.subarray(start, at);
        break;
      }
      case 5n:
        at += 4;
        continue;
      default:
        throw noImage(name, `it has a field of type ${tag & 7n}`);
    }
    const values = fields.get(field);
    if (values) values.push(value);
    else fields.set(field, [value]);
  }
  return fields;
}

function readVarint(bytes: Uint8Array, start: number, name: string): readonly [bigint, number] {
  let value = 0n;
  for (let at = start, shift = 0n; at < bytes.byteLength && shift < 70n; at++, shift += 7n) {
    const byte = bytes[at]!;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return [BigInt.asUintN(64, value), at + 1];
  }
  throw noImage(name, "a number in it does not end");
}

function noImage(name: string, why: string): OcidError {
  return new OcidError("INVALID_ARGUMENT", `${name} of the checkpoint is no image of criu's: ${why}`);
}
