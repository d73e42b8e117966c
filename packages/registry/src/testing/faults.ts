import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

/** What goes wrong with an answer. */
export type Fault =
  /** The connection breaks after so many bytes of the body. */
  | { readonly kind: "cut"; readonly afterBytes: number }
  /** So many bytes, then nothing more, with the connection left open. */
  | { readonly kind: "hang"; readonly afterBytes: number }
  /** The body comes byte by byte. */
  | { readonly kind: "drip"; readonly everyMs: number }
  | { readonly kind: "status"; readonly status: number; readonly retryAfter?: string | undefined }
  /** The header says so; the body is what it is. */
  | { readonly kind: "wrongLength"; readonly length: number }
  /** Every bit of the body is turned over; its length stays. */
  | { readonly kind: "wrongContent" }
  /** The body never ends. */
  | { readonly kind: "endless" }
  | { readonly kind: "redirect"; readonly location: string }
  /** The token is not valid any more. */
  | { readonly kind: "expireTokens" }
  /** Range is not understood: everything is sent. */
  | { readonly kind: "ignoreRange" }
  /** Range is answered with 416. */
  | { readonly kind: "refuseRange" }
  /** 206 and the range asked for in the header, but other bytes of the same blob. */
  | { readonly kind: "lieAboutRange" }
  | {
      readonly kind: "respond";
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: Uint8Array | string;
    };

export interface FaultRule {
  /** Default: any. */
  readonly method?: string;
  /** Matched against path and query. Default: any. */
  readonly path?: RegExp;
  /** How often it happens. Default: always. */
  readonly times?: number;
  /** How many requests pass before it happens. Default: none. */
  readonly after?: number;
  readonly fault: Fault;
}

/** The rules that are in force, each used up as often as it says. */
export class FaultRules {
  readonly #rules: { readonly rule: FaultRule; seen: number }[] = [];

  add(rule: FaultRule): void {
    this.#rules.push({ rule, seen: 0 });
  }

  clear(): void {
    this.#rules.length = 0;
  }

  /** The first rule that applies to a request. */
  take(method: string, url: string): Fault | undefined {
    for (const entry of this.#rules) {
      const { rule } = entry;
      if ((rule.method ?? method) !== method || rule.path?.test(url) === false) continue;
      const turn = entry.seen++ - (rule.after ?? 0);
      if (turn >= 0 && turn < (rule.times ?? Number.POSITIVE_INFINITY)) return rule.fault;
    }
    return undefined;
  }
}

const pieceBytes = 256 * 1024;

/** Sends a body as the fault has it. The head is written already, but for what the fault changes in it. */
export async function sendBody(
  response: ServerResponse,
  size: number,
  read: (from: number, to: number) => Uint8Array,
  fault: Fault | undefined,
): Promise<number> {
  const limit = fault?.kind === "cut" || fault?.kind === "hang" ? Math.min(fault.afterBytes, size) : size;
  const step = fault?.kind === "drip" ? 1 : pieceBytes;
  let sent = 0;
  while (!response.destroyed && (sent < limit || fault?.kind === "endless")) {
    const piece = sent < limit ? read(sent, Math.min(limit, sent + step)) : Buffer.alloc(step);
    const bytes = fault?.kind === "wrongContent" ? piece.map(byte => byte ^ 0xff) : piece;
    if (!response.write(bytes)) await drained(response);
    sent += bytes.byteLength;
    if (fault?.kind === "drip") await sleep(fault.everyMs);
  }
  if (fault?.kind === "hang" && sent < size) return sent;
  // Bytes that wait in the buffer would be lost with the connection.
  if (fault?.kind === "cut" && sent < size) response.socket?.end(() => response.destroy());
  else response.end();
  return sent;
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise(resolve => {
    const go = () => {
      response.off("drain", go);
      response.off("close", go);
      resolve();
    };
    response.on("drain", go);
    response.on("close", go);
  });
}
