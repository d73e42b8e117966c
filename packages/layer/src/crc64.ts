import { crc64Module, stateBytes } from "./crc64-module.ts";

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
  readonly validate: (bytes: Uint8Array) => boolean;
};

/** Memory that threads can share, in which a sum is made. */
export interface SumMemory {
  readonly buffer: SharedArrayBuffer;
}

const pageBytes = 65_536;
const maxPages = 64;
const contentBytes = 262_144;

/** Memory for `bytes` of content, which begin at `contentAt`. */
export function sumMemory(bytes: number): SumMemory {
  const pages = Math.ceil((bytes + stateBytes) / pageBytes);
  return new WebAssembly.Memory({ initial: pages, maximum: Math.max(pages, maxPages), shared: true });
}

/** Where in a memory content may lie; before it is the sum's own state. */
export const contentAt: number = stateBytes;

const compiled = new Map<boolean, object>();

/** One that this machine can run; a processor without vectors cannot run that with them. */
function moduleFor(vectors: boolean): object {
  const known = compiled.get(vectors);
  if (known) return known;
  const bytes = crc64Module(maxPages, { vectors });
  const module = vectors && !WebAssembly.validate(bytes) ? moduleFor(false) : new WebAssembly.Module(bytes);
  compiled.set(vectors, module);
  return module;
}

/**
 * CRC-64/ISO, as tar-split keeps it for each file (Go's hash/crc64 with the ISO polynomial, reflected, inverted before and
 * after), over bytes that lie in its memory, without copying them. One at a time uses a memory.
 */
export class Crc64 {
  /** Whoever produces the bytes puts them here. */
  readonly buffer: Uint8Array;
  readonly #state: Uint8Array;
  readonly #sum: (address: number, length: number) => void;

  /** `vectors`: whether the processor's vectors are used where it has them. Default true. */
  constructor(memory: SumMemory = sumMemory(contentBytes), { vectors = true }: { vectors?: boolean } = {}) {
    const instance = new WebAssembly.Instance(moduleFor(vectors), { e: { m: memory } });
    this.buffer = new Uint8Array(memory.buffer, stateBytes, contentBytes);
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
