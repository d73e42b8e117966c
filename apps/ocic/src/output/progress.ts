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

/**
 * Shows a transfer: lines that are drawn again on a terminal, one line for each finished layer and one for the sum
 * elsewhere; `json` for programs.
 */
export class ProgressDisplay {
  readonly #mode: "terminal" | "plain" | "json";
  readonly #told = new Set<string>();
  readonly #start = performance.now();
  /** When each layer was first seen, and how much of it was there by then. */
  readonly #seen = new Map<string, { readonly atMs: number; readonly bytes: number }>();
  #last: TransferState | undefined;
  #lines = 0;

  constructor(json = false) {
    this.#mode = json ? "json" : process.stderr.isTTY ? "terminal" : "plain";
  }

  show(state: TransferState): void {
    this.#last = state;
    for (const { digest, bytes } of state.layers)
      if (!this.#seen.has(digest)) this.#seen.set(digest, { atMs: performance.now(), bytes });
    if (this.#mode === "json") this.#write(`${JSON.stringify(state)}\n`);
    else if (this.#mode === "plain") this.#showPlain(state);
    else this.#showTerminal(state);
  }

  /** Leaves the last picture standing; where lines are not drawn again, tells the sum. */
  end(): void {
    this.#lines = 0;
    if (this.#mode !== "plain" || !this.#last) return;
    const seconds = (performance.now() - this.#start) / 1000;
    const { totalBytes, bytesPerSecond } = this.#last;
    const rate = bytesPerSecond === undefined ? "" : `, ${formatBytes(bytesPerSecond)}/s`;
    this.#write(`${formatBytes(totalBytes)} in ${seconds.toFixed(1)} s${rate}\n`);
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
          `${layer.digest.slice(7, 19)}  ${bar(layer.size === 0 ? 1 : layer.bytes / layer.size)}  ${this.#layerState(layer)}`,
      );
    const sum = `${formatBytes(state.copiedBytes)} of ${formatBytes(state.totalBytes)}, ${formatBytes(Math.round(rate))}/s${left > 0 ? `, ${left} s left` : ""}`;
    const up = this.#lines > 0 ? `\x1b[${this.#lines}A` : "";
    this.#write(`${up}${[...rows, sum].map(row => `\x1b[2K${row}\n`).join("")}`);
    this.#lines = rows.length + 1;
  }

  #layerState({ digest, size, bytes, state }: TransferState["layers"][number]): string {
    if (state === "skipped") return "is here already";
    if (state === "done") return "done";
    const seen = this.#seen.get(digest);
    const seconds = seen ? (performance.now() - seen.atMs) / 1000 : 0;
    const rate = seen && seconds > 0.2 ? Math.round((bytes - seen.bytes) / seconds) : 0;
    const left = rate > 0 ? `, ${formatBytes(rate)}/s, ${Math.ceil((size - bytes) / rate)} s left` : "";
    return `${formatBytes(bytes)} of ${formatBytes(size)}${left}`;
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
