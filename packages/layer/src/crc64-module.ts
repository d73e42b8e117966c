/*
The WebAssembly module of the sum, assembled here: `f(address, length)` adds bytes of the memory to the state at address 0.

CRC-64/ISO is reflected: a shift to the right multiplies by x, and what is pushed out comes back times x^64, which is
x^4 + x^3 + x + 1 by the polynomial. Squaring such a sum squares each of its terms, so multiplying by x^256 is as cheap as by
x^64: x^256 = x^16 + x^12 + x^4 + 1 = (1 + x^4)(1 + x^12). Four words are summed beside each other that way, two in each
vector, and put together at the end; a machine without vectors takes word for word.
*/

const i64 = 0x7e;
const i32 = 0x7f;
const v128 = 0x7b;
/** Instructions with a value of their own behind them are functions. */
const op = {
  block: [0x02, 0x40],
  loop: [0x03, 0x40],
  br: (depth: number) => [0x0c, depth],
  brIf: (depth: number) => [0x0d, depth],
  if: [0x04, 0x40],
  end: [0x0b],
  call: (index: number) => [0x10, index],
  get: (local: number) => [0x20, local],
  set: (local: number) => [0x21, local],
  tee: (local: number) => [0x22, local],
  i32: (value: number) => [0x41, ...signedLeb(BigInt(value))],
  i64: (value: bigint) => [0x42, ...signedLeb(value)],
  i32LtU: [0x49],
  i32GeU: [0x4f],
  i32Eqz: [0x45],
  i32Add: [0x6a],
  i32Sub: [0x6b],
  i64Load: [0x29, 0, 0],
  i64Load8U: [0x31, 0, 0],
  i64Store: [0x37, 0, 0],
  i64And: [0x83],
  i64Xor: [0x85],
  i64Shl: [0x86],
  i64ShrU: [0x88],
  i64Sub: [0x7d],
  v128Load: (offset: number) => [0xfd, 0x00, 0, offset],
  v128Store: (offset: number) => [0xfd, 0x0b, 0, offset],
  v128Zero: [0xfd, 0x0c, ...new Array<number>(16).fill(0)],
  v128Xor: [0xfd, 0x51],
  i64x2ReplaceLane: (lane: number) => [0xfd, 0x1e, lane],
  i64x2Shl: [0xfd, 0xcb, 0x01],
  i64x2ShrU: [0xfd, 0xcd, 0x01],
} as const;

function signedLeb(value: bigint): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; ) {
    const byte = Number(rest & 0x7fn);
    rest >>= 7n;
    if ((rest === 0n && !(byte & 0x40)) || (rest === -1n && byte & 0x40)) return [...bytes, byte];
    bytes.push(byte | 0x80);
  }
}

function unsignedLeb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsignedLeb(value >>> 7)];
}

const section = (id: number, ...body: number[]): number[] => [id, ...unsignedLeb(body.length), ...body];
const functionBody = (...code: number[]): number[] => [...unsignedLeb(code.length), ...code];
const whileNot = (leave: readonly number[], body: readonly number[]): number[] => [
  ...op.block,
  ...op.loop,
  ...[...leave, ...op.brIf(1)],
  ...body,
  ...[...op.br(0), ...op.end, ...op.end],
];

// Both functions' first locals.
const [address, length] = [0, 1];
const advance = (bytes: number): number[] => [
  ...[...op.get(address), ...op.i32(bytes), ...op.i32Add, ...op.set(address)],
  ...[...op.get(length), ...op.i32(bytes), ...op.i32Sub, ...op.set(length)],
];
const isLess = (bytes: number): number[] => [...op.get(length), ...op.i32(bytes), ...op.i32LtU];

/** `words(address, length, crc)`: the sum after those bytes, one word after the other. */
function words(): number[] {
  const [crc, scratch] = [2, 3];
  const folded = (shift: number, direction: readonly number[]): number[] => [
    ...[...op.get(scratch), ...op.i64(BigInt(shift)), ...direction, ...op.i64Xor],
  ];
  // t = crc xor word; u = t with what x, x^3 and x^4 push out of it; u times the same.
  const eightBytes = [
    ...[...op.get(crc), ...op.get(address), ...op.i64Load, ...op.i64Xor, ...op.tee(scratch)],
    ...[...folded(63, op.i64Shl), ...folded(61, op.i64Shl), ...folded(60, op.i64Shl), ...op.tee(scratch)],
    ...[...folded(1, op.i64ShrU), ...folded(3, op.i64ShrU), ...folded(4, op.i64ShrU), ...op.set(crc)],
    ...advance(8),
  ];
  const lowestBit = [...op.get(crc), ...op.i64(1n), ...op.i64And];
  const oneBit = [
    ...[...op.get(crc), ...op.i64(1n), ...op.i64ShrU],
    ...[
      ...op.i64(0n),
      ...lowestBit,
      ...op.i64Sub,
      ...op.i64(BigInt.asIntN(64, 0xd800000000000000n)),
      ...op.i64And,
    ],
    ...[...op.i64Xor, ...op.set(crc)],
  ];
  const oneByte = [
    ...[...op.get(crc), ...op.get(address), ...op.i64Load8U, ...op.i64Xor, ...op.set(crc)],
    ...Array.from({ length: 8 }, () => oneBit).flat(),
    ...advance(1),
  ];
  return functionBody(
    ...[1, 1, i64],
    ...whileNot(isLess(8), eightBytes),
    ...whileNot([...op.get(length), ...op.i32Eqz], oneByte),
    ...[...op.get(crc), ...op.end],
  );
}

/** Bytes of the state; behind the sum, from `lanesAt`, there is room for the four words. */
export const stateBytes = 64;
const lanesAt = 16;
const laneBytes = 32;

/** `f`: whatever `words` says, with four words at once where there are enough. */
function sum(vectors: boolean): number[] {
  const [crc, first, second, pushedOut] = [2, 3, 4, 5];
  const shifted = (local: number, bits: number, direction: readonly number[]): number[] => [
    ...[...op.get(local), ...op.i32(bits), ...direction],
  ];
  // Leaves `lane` times x^256 on the stack: (1 + x^4)(1 + x^12), and what that pushes out times (1 + x)(1 + x^3).
  const times = (lane: number): number[] => [
    ...[...shifted(lane, 60, op.i64x2Shl), ...shifted(lane, 52, op.i64x2Shl), ...op.v128Xor],
    ...[...shifted(lane, 48, op.i64x2Shl), ...op.v128Xor, ...op.tee(pushedOut)],
    ...[...shifted(pushedOut, 1, op.i64x2ShrU), ...op.v128Xor, ...op.tee(pushedOut)],
    ...[...shifted(pushedOut, 3, op.i64x2ShrU), ...op.v128Xor],
    ...[...op.get(lane), ...shifted(lane, 4, op.i64x2ShrU), ...op.v128Xor, ...op.tee(lane)],
    ...[...shifted(lane, 12, op.i64x2ShrU), ...op.v128Xor, ...op.v128Xor],
  ];
  const load = (at: number): number[] => [...op.get(address), ...op.v128Load(at)];
  const fourWords = [
    ...[...times(first), ...load(0), ...op.v128Xor, ...op.set(first)],
    ...[...times(second), ...load(16), ...op.v128Xor, ...op.set(second)],
    ...advance(laneBytes),
  ];
  const beside = [
    ...[...op.get(length), ...op.i32(2 * laneBytes), ...op.i32GeU, ...op.if],
    ...[
      ...op.v128Zero,
      ...op.get(crc),
      ...op.i64x2ReplaceLane(0),
      ...load(0),
      ...op.v128Xor,
      ...op.set(first),
    ],
    ...[...load(16), ...op.set(second), ...advance(laneBytes)],
    ...whileNot(isLess(laneBytes), fourWords),
    ...[...op.i32(0), ...op.get(first), ...op.v128Store(lanesAt)],
    ...[...op.i32(0), ...op.get(second), ...op.v128Store(lanesAt + 16)],
    ...[...op.i32(lanesAt), ...op.i32(laneBytes), ...op.i64(0n), ...op.call(0), ...op.set(crc)],
    ...op.end,
  ];
  return functionBody(
    ...(vectors ? [2, 1, i64, 3, v128] : [1, 1, i64]),
    ...[...op.i32(0), ...op.i64Load, ...op.set(crc)],
    ...(vectors ? beside : []),
    ...[...op.i32(0), ...op.get(address), ...op.get(length), ...op.get(crc), ...op.call(0), ...op.i64Store],
    ...op.end,
  );
}

/** The module's bytes. It imports its memory as `e.m`, shared and of `maxPages` at most, and exports `f`. */
export function crc64Module(maxPages: number, options: { readonly vectors: boolean }): Uint8Array {
  const functions = [words(), sum(options.vectors)];
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, 2, ...[0x60, 3, i32, i32, i64, 1, i64], ...[0x60, 2, i32, i32, 0]),
    ...section(2, 1, ...[1, 0x65, 1, 0x6d], ...[2, 3, 1, ...unsignedLeb(maxPages)]),
    ...section(3, 2, 0, 1),
    ...section(7, 1, ...[1, 0x66, 0, 1]),
    ...section(10, functions.length, ...functions.flat()),
  ]);
}
