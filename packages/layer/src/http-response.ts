import { OcidError } from "@ocid/base";

export interface ResponseHead {
  readonly status: number;
  /** Names in lower case; repeated ones joined with a comma. */
  readonly headers: Readonly<Record<string, string>>;
}

const maxHeadBytes = 64 * 1024;

/**
 * Reads one HTTP/1.1 response from buffers as they come (RFC 9112): the head is collected, the body handed on without
 * a copy, whether its length is stated, chunked or ends with the connection.
 */
export class ResponseReader {
  readonly #onHead: (head: ResponseHead) => void;
  readonly #onBody: (bytes: Uint8Array) => void;
  #head = Buffer.alloc(0);
  #framing: "head" | "length" | "chunked" | "close" | "done" = "head";
  #left = 0;
  #line = "";
  #chunk: "size" | "data" | "dataEnd" | "trailer" = "size";

  constructor(onHead: (head: ResponseHead) => void, onBody: (bytes: Uint8Array) => void) {
    this.#onHead = onHead;
    this.#onBody = onBody;
  }

  get done(): boolean {
    return this.#framing === "done";
  }

  /** Whether the end of the connection is a proper end of the response. */
  get mayEnd(): boolean {
    return this.#framing === "done" || this.#framing === "close";
  }

  write(bytes: Uint8Array): void {
    let rest = bytes;
    if (this.#framing === "head") {
      const after = this.#readHead(rest);
      if (!after) return;
      rest = after;
    }
    if (rest.byteLength === 0) return;
    if (this.#framing === "length") {
      const piece = rest.subarray(0, this.#left);
      this.#left -= piece.byteLength;
      this.#onBody(piece);
      if (this.#left === 0) this.#framing = "done";
    } else if (this.#framing === "close") this.#onBody(rest);
    else if (this.#framing === "chunked") this.#readChunks(rest);
  }

  #readHead(bytes: Uint8Array): Uint8Array | undefined {
    const all = Buffer.concat([this.#head, bytes]);
    const end = all.indexOf("\r\n\r\n");
    if (end === -1) {
      if (all.byteLength > maxHeadBytes)
        throw new OcidError(
          "UNAVAILABLE",
          `the server's response headers have more than ${maxHeadBytes} bytes`,
        );
      this.#head = all;
      return undefined;
    }
    this.#head = Buffer.alloc(0);
    const head = parseHead(all.toString("latin1", 0, end));
    if (head.status >= 100 && head.status < 200) return this.#readHead(all.subarray(end + 4));
    this.#frame(head);
    this.#onHead(head);
    return all.subarray(end + 4);
  }

  #frame({ status, headers }: ResponseHead): void {
    if (status === 204 || status === 304) this.#framing = "done";
    else if (headers["transfer-encoding"]?.toLowerCase().endsWith("chunked")) this.#framing = "chunked";
    else if (headers["content-length"] !== undefined) {
      if (!/^\d{1,15}$/.test(headers["content-length"]))
        throw new OcidError(
          "UNAVAILABLE",
          `the server sent a content-length that is no number: ${headers["content-length"].slice(0, 40)}`,
        );
      this.#left = Number(headers["content-length"]);
      this.#framing = this.#left === 0 ? "done" : "length";
    } else this.#framing = "close";
  }

  #readChunks(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength && this.#framing === "chunked"; ) {
      if (this.#chunk === "data") {
        const piece = bytes.subarray(at, at + this.#left);
        at += piece.byteLength;
        this.#left -= piece.byteLength;
        this.#onBody(piece);
        if (this.#left === 0) this.#chunk = "dataEnd";
        continue;
      }
      const char = bytes[at++]!;
      if (char !== 0x0a) {
        if (this.#line.length > 4096)
          throw new OcidError("UNAVAILABLE", "the server's chunked response cannot be read");
        this.#line += String.fromCharCode(char);
        continue;
      }
      this.#endLine(this.#line.trimEnd());
      this.#line = "";
    }
  }

  #endLine(line: string): void {
    if (this.#chunk === "dataEnd") this.#chunk = "size";
    else if (this.#chunk === "trailer") {
      if (line === "") this.#framing = "done";
    } else {
      const size = Number.parseInt(line, 16);
      if (!/^[0-9a-f]{1,12}\s*(;|$)/i.test(line))
        throw new OcidError("UNAVAILABLE", "the server's chunked response cannot be read");
      this.#left = size;
      this.#chunk = size === 0 ? "trailer" : "data";
    }
  }
}

function parseHead(text: string): ResponseHead {
  const [first = "", ...lines] = text.split("\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1];
  if (!status)
    throw new OcidError(
      "UNAVAILABLE",
      `the server does not speak HTTP/1.1: ${JSON.stringify(first.slice(0, 60))}`,
    );
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon === -1) continue;
    const name = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  return { status: Number(status), headers };
}
