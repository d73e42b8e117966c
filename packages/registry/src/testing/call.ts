import type { IncomingMessage, ServerResponse } from "node:http";
import type { Fault } from "./faults.ts";
import type { MemoryRepository } from "./memory-repository.ts";
import type { SeenRequest } from "./test-registry.ts";

/** One request to a test registry, and what its answer needs. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly repository: MemoryRepository;
  readonly repositoryName: string;
  /** What follows the kind of thing in the path: a digest, a tag, an upload. */
  readonly name: string;
  readonly fault: Fault | undefined;
  readonly seen: SeenRequest;
}

export function refuse(
  response: ServerResponse,
  status: number,
  code: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify({ errors: [{ code, message: "" }] }));
}

export async function readAll(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
