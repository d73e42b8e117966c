/*
CRC-64/ISO, as tar-split keeps it for each file (Go's hash/crc64 with the ISO polynomial, reflected, inverted before and
after). The polynomial x^64 + x^4 + x^3 + x + 1 is so sparse that eight bytes are folded in at once without a table:

  t = crc xor word
  u = t xor t<<63 xor t<<61 xor t<<60      (what multiplying by x, x^3, x^4 pushes out, brought back)
  crc = u xor u>>1 xor u>>3 xor u>>4

Sixty-four-bit integers make that a job for WebAssembly; the module is assembled here, opcode by opcode.
*/

/** The part of WebAssembly's interface that is used here; the types of Node leave it to those of browsers. */
declare const WebAssembly: {
  readonly Memory: new (limits: {
    readonly initial: number;
    readonly maximum: number;
    readonly shared: true;
  }) => SumMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: object,
  ) => { readonly exports: Readonly<Record<string, unknown>> };
};

/** Memory that threads can share, in which a sum is made. */
export interface SumMemory {
  readonly buffer: SharedArrayBuffer;
}

const i64 = 0x7e;
const i32 = 0x7f;
const op = {
  block: 0x02,
  loop: 0x03,
  br: 0x0c,
  brIf: 0x0d,
  end: 0x0b,
  get: 0x20,
  set: 0x21,
  tee: 0x22,
  empty: 0x40,
  i32Const: 0x41,
  i64Const: 0x42,
  i32LtU: 0x49,
  i32Eqz: 0x45,
  i32Add: 0x6a,
  i32Sub: 0x6b,
  i64Load: 0x29,
  i64Load8U: 0x31,
  i64Store: 0x37,
  i64And: 0x83,
  i64Xor: 0x85,
  i64Shl: 0x86,
  i64ShrU: 0x88,
  i64Sub: 0x7d,
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

const section = (id: number, body: readonly number[]): number[] => [id, ...unsignedLeb(body.length), ...body];
const constant = (value: bigint): number[] => [op.i64Const, ...signedLeb(value)];

// Locals: 0 address, 1 length, 2 crc, 3 scratch.
const [address, length, crc, scratch] = [0, 1, 2, 3];
const polynomial = BigInt.asIntN(64, 0xd800000000000000n);
const folded = (shift: number, direction: number): number[] => [
  op.get,
  scratch,
  ...constant(BigInt(shift)),
  direction,
  op.i64Xor,
];
const advance = (bytes: number): number[] => [
  op.get,
  address,
  op.i32Const,
  bytes,
  op.i32Add,
  op.set,
  address,
  op.get,
  length,
  op.i32Const,
  bytes,
  op.i32Sub,
  op.set,
  length,
];

const eightBytes = [
  op.get,
  crc,
  op.get,
  address,
  op.i64Load,
  0,
  0,
  op.i64Xor,
  op.tee,
  scratch,
  ...folded(63, op.i64Shl),
  ...folded(61, op.i64Shl),
  ...folded(60, op.i64Shl),
  op.tee,
  scratch,
  ...folded(1, op.i64ShrU),
  ...folded(3, op.i64ShrU),
  ...folded(4, op.i64ShrU),
  op.set,
  crc,
  ...advance(8),
];
const oneBit = [
  op.get,
  crc,
  ...constant(1n),
  op.i64ShrU,
  ...constant(0n),
  op.get,
  crc,
  ...constant(1n),
  op.i64And,
  op.i64Sub,
  ...constant(polynomial),
  op.i64And,
  op.i64Xor,
  op.set,
  crc,
];
const oneByte = [
  op.get,
  crc,
  op.get,
  address,
  op.i64Load8U,
  0,
  0,
  op.i64Xor,
  op.set,
  crc,
  ...Array.from({ length: 8 }, () => oneBit).flat(),
  ...advance(1),
];
const whileEnough = (body: readonly number[], leave: readonly number[]): number[] => [
  op.block,
  op.empty,
  op.loop,
  op.empty,
  ...leave,
  op.brIf,
  1,
  ...body,
  op.br,
  0,
  op.end,
  op.end,
];

const body = [
  1,
  2,
  i64, // two more locals
  op.i32Const,
  0,
  op.i64Load,
  0,
  0,
  op.set,
  crc,
  ...whileEnough(eightBytes, [op.get, length, op.i32Const, 8, op.i32LtU]),
  ...whileEnough(oneByte, [op.get, length, op.i32Eqz]),
  op.i32Const,
  0,
  op.get,
  crc,
  op.i64Store,
  0,
  0,
  op.end,
];

const pageBytes = 65_536;
const stateBytes = 64;
const maxPages = 64;

const module = new Uint8Array([
  0x00,
  0x61,
  0x73,
  0x6d,
  1,
  0,
  0,
  0,
  ...section(1, [1, 0x60, 2, i32, i32, 0]),
  ...section(2, [1, 1, 0x65, 1, 0x6d, 2, 3, 1, ...unsignedLeb(maxPages)]), // import "e" "m" (shared memory)
  ...section(3, [1, 0]),
  ...section(7, [1, 1, 0x66, 0, 0]), // export "f"
  ...section(10, [1, ...unsignedLeb(body.length), ...body]),
]);

/** Memory for `bytes` of content, which begin at `contentAt`. */
export function sumMemory(bytes: number): SumMemory {
  const pages = Math.ceil((bytes + stateBytes) / pageBytes);
  return new WebAssembly.Memory({ initial: pages, maximum: Math.max(pages, maxPages), shared: true });
}

/** Where in a memory content may lie; before it is the sum's own state. */
export const contentAt: number = stateBytes;

/** Sums over bytes that lie in its memory, without copying them. One at a time uses a memory. */
export class Crc64 {
  /** Whoever produces the bytes puts them here. */
  readonly buffer: Uint8Array;
  readonly #state: Uint8Array;
  readonly #sum: (address: number, length: number) => void;

  constructor(memory: SumMemory = sumMemory(262_144)) {
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module), { e: { m: memory } });
    this.buffer = new Uint8Array(memory.buffer, stateBytes, 262_144);
    this.#state = new Uint8Array(memory.buffer, 0, 8);
    this.#sum = instance.exports["f"] as (address: number, length: number) => void;
    this.reset();
  }

  reset(): void {
    this.#state.fill(0xff);
  }

  /** Adds a view of the memory. */
  update(view: Uint8Array): void {
    this.#sum(view.byteOffset, view.byteLength);
  }

  /** Eight bytes, the highest first. */
  digest(): Buffer {
    const result = Buffer.allocUnsafe(8);
    for (let at = 0; at < 8; at++) result[7 - at] = this.#state[at]! ^ 0xff;
    return result;
  }
}
