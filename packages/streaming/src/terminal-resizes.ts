import type { TerminalSize } from "./streaming-backend.ts";

const maxHeldCharacters = 4096;

/** Terminal sizes out of the JSON objects that clients send, `{"Width":80,"Height":24}`; only the newest is kept for a slow reader. */
export class TerminalResizes implements AsyncIterable<TerminalSize> {
  #held = "";
  #newest: TerminalSize | undefined;
  #wake: () => void = () => {};
  #ended = false;

  feed(bytes: Buffer): void {
    this.#held += bytes.toString("latin1");
    for (let end = this.#held.indexOf("}"); end !== -1; end = this.#held.indexOf("}")) {
      this.#newest = parseSize(this.#held.slice(0, end + 1)) ?? this.#newest;
      this.#held = this.#held.slice(end + 1);
    }
    if (this.#held.length > maxHeldCharacters) this.#held = "";
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<TerminalSize> {
    for (;;) {
      const size = this.#newest;
      this.#newest = undefined;
      if (size) yield size;
      else if (this.#ended) return;
      else
        await new Promise<void>(resolve => {
          this.#wake = resolve;
        });
    }
  }
}

function parseSize(text: string): TerminalSize | undefined {
  try {
    const { Width: width, Height: height } = JSON.parse(text);
    return isLength(width) && isLength(height) ? { width, height } : undefined;
  } catch {
    return undefined;
  }
}

function isLength(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) < 65_536;
}
