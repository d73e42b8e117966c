import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { writeAll } from "../output/output.ts";

/** Shows a log in the CRI's format: `time stream P|F text`, where P says that the line goes on. */
export function printLog(path: string): void {
  const reader = new LogReader(path);
  while (reader.readMore());
  reader.close();
}

/** Goes on showing a log until its container has ended and all of it has been shown. */
export async function followLog(path: string, isRunning: () => Promise<boolean>): Promise<void> {
  const reader = new LogReader(path);
  for (let running = true; ; ) {
    if (reader.readMore()) continue;
    if (!running) break;
    running = await isRunning();
    await sleep(50);
  }
  reader.close();
}

class LogReader {
  readonly #path: string;
  #fd: number | undefined;
  #rest = "";

  constructor(path: string) {
    this.#path = path;
  }

  /** Shows what has been added; false when there was nothing. */
  readMore(): boolean {
    if (this.#fd === undefined) {
      if (!existsSync(this.#path)) return false;
      this.#fd = openSync(this.#path, "r");
    }
    const buffer = Buffer.alloc(64 * 1024);
    const count = readSync(this.#fd, buffer);
    if (count === 0) return false;
    const lines = (this.#rest + buffer.toString("latin1", 0, count)).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) showLine(line);
    return true;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}

function showLine(line: string): void {
  const match = /^\S+ (stdout|stderr) ([FP])(?::\S+)? ?(.*)$/s.exec(line);
  if (!match) return;
  const [, stream, tag, text] = match;
  writeAll(stream === "stderr" ? 2 : 1, Buffer.from(`${text}${tag === "F" ? "\n" : ""}`, "latin1"));
}
