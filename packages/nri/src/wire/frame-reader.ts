import { OcidError } from "@ocid/base";

export interface FrameShape {
  readonly headerBytes: number;
  /** Where in the header the payload's length stands: 32 bits, big end first. */
  readonly lengthAt: number;
  readonly maxPayloadBytes: number;
}

/** Cuts a stream of bytes into frames, each a header with the length of its payload. */
export class FrameReader {
  readonly #shape: FrameShape;
  readonly #onFrame: (header: Buffer, payload: Buffer) => void;
  #buffer: Buffer;
  #filled = 0;

  constructor(shape: FrameShape, onFrame: (header: Buffer, payload: Buffer) => void) {
    this.#shape = shape;
    this.#onFrame = onFrame;
    this.#buffer = Buffer.alloc(shape.headerBytes);
  }

  /** RESOURCE_EXHAUSTED for a frame that announces more than it may have; nothing can be read after it. */
  push(bytes: Uint8Array): void {
    const { headerBytes } = this.#shape;
    for (let at = 0; at < bytes.byteLength; ) {
      const taken = Math.min(bytes.byteLength - at, this.#buffer.byteLength - this.#filled);
      this.#buffer.set(bytes.subarray(at, at + taken), this.#filled);
      this.#filled += taken;
      at += taken;
      if (this.#filled < this.#buffer.byteLength) return;
      if (this.#filled === headerBytes) this.#makeRoom();
      if (this.#filled === this.#buffer.byteLength) this.#finish();
    }
  }

  #makeRoom(): void {
    const { headerBytes, lengthAt, maxPayloadBytes } = this.#shape;
    const length = this.#buffer.readUInt32BE(lengthAt);
    if (length > maxPayloadBytes)
      throw new OcidError("RESOURCE_EXHAUSTED", `a frame of ${length} bytes, more than ${maxPayloadBytes}`);
    const whole = Buffer.allocUnsafe(headerBytes + length);
    this.#buffer.copy(whole);
    this.#buffer = whole;
  }

  #finish(): void {
    const { headerBytes } = this.#shape;
    const frame = this.#buffer;
    this.#buffer = Buffer.alloc(headerBytes);
    this.#filled = 0;
    this.#onFrame(frame.subarray(0, headerBytes), frame.subarray(headerBytes));
  }
}
