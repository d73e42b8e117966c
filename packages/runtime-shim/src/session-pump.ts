import type { Socket } from "node:net";
import type { Writable } from "node:stream";

const quietMs = 200;

/** Carries output of a process as fast as it is taken, and keeps the last of it for messages. */
export class SessionPump {
  readonly #source: Socket;
  readonly #target: Writable | undefined;
  readonly #closed: Promise<void>;
  #tail: Buffer = Buffer.alloc(0);
  #moved = 0;

  constructor(source: Socket, target: Writable | undefined) {
    this.#source = source;
    this.#target = target;
    this.#closed = new Promise(resolve => source.once("close", () => resolve()));
    source.on("data", (bytes: Buffer) => {
      this.#moved += bytes.byteLength;
      this.#tail = Buffer.concat([this.#tail, bytes]).subarray(-4096);
    });
    // Without a target the output is read all the same: the process must not wait for nobody.
    if (target) source.pipe(target, { end: false });
  }

  get tail(): Buffer {
    return this.#tail;
  }

  /**
   * Waits until all is carried over after the process has ended. What it left running may hold the pipe for ever, so
   * one that is silent while there is room for more is let go.
   */
  async finish(): Promise<void> {
    let before = -1;
    const timer = setInterval(() => {
      const waits = this.#target?.writableNeedDrain === true && !this.#target.destroyed;
      if (this.#moved === before && !waits) this.#source.destroy();
      before = this.#moved;
    }, quietMs);
    try {
      await this.#closed;
    } finally {
      clearInterval(timer);
    }
  }
}
