import { writeAll } from "./output.ts";
import { formatBytes } from "./units.ts";

/** How far a transfer is. */
export interface TransferState {
  readonly copiedBytes: number;
  readonly totalBytes: number;
  /** Where the copy knows what it has really moved. */
  readonly bytesPerSecond?: number;
  readonly secondsLeft?: number | undefined;
  readonly layers: readonly {
    readonly digest: string;
    readonly size: number;
    readonly bytes: number;
    readonly state: string;
  }[];
}

/** Shows a transfer: lines that are drawn again on a terminal, one line for each finished layer elsewhere; `json` for programs. */
export class ProgressDisplay {
  readonly #mode: "terminal" | "plain" | "json";
  readonly #told = new Set<string>();
  readonly #start = performance.now();
  #lines = 0;

  constructor(json = false) {
    this.#mode = json ? "json" : process.stderr.isTTY ? "terminal" : "plain";
  }

  show(state: TransferState): void {
    if (this.#mode === "json") this.#write(`${JSON.stringify(state)}\n`);
    else if (this.#mode === "plain") this.#showPlain(state);
    else this.#showTerminal(state);
  }

  /** Leaves the last picture standing. */
  end(): void {
    this.#lines = 0;
  }

  #showPlain(state: TransferState): void {
    for (const layer of state.layers) {
      if (!isDone(layer) || this.#told.has(layer.digest)) continue;
      this.#told.add(layer.digest);
      this.#write(
        `${layer.digest.slice(7, 19)}  ${layer.state === "skipped" ? "is here already" : `done, ${formatBytes(layer.size)}`}\n`,
      );
    }
  }

  #showTerminal(state: TransferState): void {
    const seconds = (performance.now() - this.#start) / 1000;
    const rate = state.bytesPerSecond ?? state.copiedBytes / Math.max(seconds, 0.001);
    const left =
      state.secondsLeft ?? (rate > 0 ? Math.ceil((state.totalBytes - state.copiedBytes) / rate) : 0);
    const rows = state.layers
      .slice(-12)
      .map(
        layer =>
          `${layer.digest.slice(7, 19)}  ${bar(layer.size === 0 ? 1 : layer.bytes / layer.size)}  ${isDone(layer) ? (layer.state === "skipped" ? "is here already" : "done") : `${formatBytes(layer.bytes)} of ${formatBytes(layer.size)}`}`,
      );
    const sum = `${formatBytes(state.copiedBytes)} of ${formatBytes(state.totalBytes)}, ${formatBytes(Math.round(rate))}/s${left > 0 ? `, ${left} s left` : ""}`;
    const up = this.#lines > 0 ? `\x1b[${this.#lines}A` : "";
    this.#write(`${up}${[...rows, sum].map(row => `\x1b[2K${row}\n`).join("")}`);
    this.#lines = rows.length + 1;
  }

  #write(text: string): void {
    writeAll(2, Buffer.from(text));
  }
}

function isDone(layer: { readonly state: string }): boolean {
  return layer.state === "done" || layer.state === "skipped";
}

function bar(part: number): string {
  const full = Math.round(Math.min(1, part) * 24);
  return `[${"=".repeat(full)}${" ".repeat(24 - full)}]`;
}
