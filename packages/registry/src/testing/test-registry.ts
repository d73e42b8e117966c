import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Descriptor, Digest } from "@ocid/spec";
import type { FaultRule } from "./faults.ts";
import { MemoryRegistry } from "./memory-registry.ts";
import type { TestBlob } from "./memory-repository.ts";

export interface TestRegistryOptions {
  /** What clients must show. Default: nothing. With `token`, a bearer token that this user gets at `/token`. */
  readonly auth?:
    | { readonly scheme: "basic" | "token"; readonly username: string; readonly password: string }
    | undefined;
  /** An OAuth2 refresh token that `/token` takes too. */
  readonly identityToken?: string | undefined;
  /** Whether it lists referrers by itself. Default true. */
  readonly referrers?: boolean | undefined;
  /** Whether a tag can be deleted without its manifest. Default true. */
  readonly deletesTags?: boolean | undefined;
  /** Most items of a page. Default 1000. */
  readonly pageSize?: number | undefined;
}

export interface SeenRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: Readonly<IncomingMessage["headers"]>;
  /** Bytes of the answer's body that were sent. */
  sent: number;
}

/** A registry in memory, on a port of loopback over plain HTTP, which does wrong what it is told to. */
export interface TestRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly requests: SeenRequest[];
  addBlob(repository: string, blob: Uint8Array | TestBlob): Descriptor;
  addManifest(repository: string, bytes: Uint8Array, mediaType: string, tag?: string): Descriptor;
  /** What there is, or was pushed. */
  readBlob(repository: string, digest: Digest): Uint8Array | undefined;
  tags(repository: string): readonly string[];
  /** From now on, requests that fit go wrong; of several rules the first that fits counts. */
  fail(rule: FaultRule): void;
  /** All goes right again. */
  heal(): void;
}

/** Starts a registry for tests: pull, push in one piece and in chunks, tags, referrers, deletion, tokens, and faults. */
export async function startTestRegistry(options: TestRegistryOptions = {}): Promise<TestRegistry> {
  const state = new MemoryRegistry(options);
  const server = createServer((request, response) => {
    response.on("error", () => {});
    void state.answer(request, response).catch(() => response.destroy());
  }).listen(0, "127.0.0.1");
  await new Promise(resolve => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  state.host = `127.0.0.1:${port}`;
  const { requests, rules } = state;
  return {
    host: state.host,
    requests,
    addBlob: (repository, blob) => state.repository(repository).addBlob(blob),
    addManifest: (repository, bytes, mediaType, tag) =>
      state.repository(repository).addManifest(bytes, mediaType, tag),
    readBlob: (repository, digest) => {
      const blob = state.repository(repository).blobs.get(digest);
      return blob?.read(0, blob.size);
    },
    tags: repository => [...state.repository(repository).tags.keys()].sort(),
    fail: rule => rules.add(rule),
    heal: () => rules.clear(),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}
