import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { type IncomingMessage, type RequestOptions, request } from "node:http";
import { pipeline } from "node:stream/promises";
import { OcidError, readCapped, wrapError } from "@ocid/base";
import { Fields, parseJsonObject } from "@ocid/spec";
import type { CallOptions } from "./image-source.ts";

const maxAnswerBytes = 4 * 1024 * 1024;
const maxLineBytes = 64 * 1024;

/** The socket of a Docker engine, or of what answers as one: of `DOCKER_HOST`, or the usual one. */
export function dockerSocket(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const host = env["DOCKER_HOST"];
  if (!host) return process.platform === "win32" ? "//./pipe/docker_engine" : "/var/run/docker.sock";
  const [, scheme, path] = /^(unix|npipe):\/\/(\/.+)$/.exec(host) ?? [];
  if (path === undefined)
    throw new OcidError(
      "UNIMPLEMENTED",
      `DOCKER_HOST=${host.replace(/\/\/[^@/]*@/, "//")}: only sockets of this machine are supported, unix:///var/run/docker.sock for example`,
    );
  return scheme === "unix" ? path : path.replace(/^\/\/+/, "//");
}

/** The few requests of the Docker Engine API that moving images takes. */
export class DockerEngine {
  readonly #socket: string;

  constructor(socket: string = dockerSocket()) {
    this.#socket = socket;
  }

  /** The id of an image, the digest of its config. NOT_FOUND. */
  async imageId(name: string, options: CallOptions = {}): Promise<string> {
    const answer = await this.#send({ path: `/images/${escaped(name)}/json` }, options);
    const bytes = await this.#read(answer, `image ${name}`);
    return new Fields(
      parseJsonObject(bytes, "the engine's answer", maxAnswerBytes),
      "the engine's answer",
    ).string("Id");
  }

  /** An image as the archive that `docker save` writes. */
  async *save(name: string, options: CallOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const answer = await this.#send({ path: `/images/${escaped(name)}/get` }, options);
    if (answer.statusCode !== 200) await this.#refuse(answer, `image ${name}`);
    try {
      yield* answer as AsyncIterable<Uint8Array>;
    } catch (error) {
      options.signal?.throwIfAborted();
      throw wrapError(`the engine at ${this.#socket}`, error, "UNAVAILABLE");
    }
    if (!answer.complete) throw new OcidError("UNAVAILABLE", `the engine at ${this.#socket} broke off`);
  }

  /** Takes in the images of an archive that lies in a file. */
  async load(path: string, options: CallOptions = {}): Promise<void> {
    const { size } = await stat(path);
    const answer = await this.#send(
      {
        method: "POST",
        path: "/images/load?quiet=1",
        headers: { "content-type": "application/x-tar", "content-length": size },
      },
      options,
      path,
    );
    await this.#read(answer, "the archive", refuseReportedError);
  }

  async #send(options: RequestOptions, { signal }: CallOptions, body?: string): Promise<IncomingMessage> {
    signal?.throwIfAborted();
    const answered = Promise.withResolvers<IncomingMessage>();
    const sent = request({ socketPath: this.#socket, ...options, ...(signal ? { signal } : {}) });
    sent.once("response", answered.resolve);
    sent.once("error", answered.reject);
    // The engine may answer, and hang up, before it has read everything.
    if (body === undefined) sent.end();
    else pipeline(createReadStream(body, { highWaterMark: 1024 * 1024 }), sent).catch(answered.reject);
    try {
      return await answered.promise;
    } catch (error) {
      signal?.throwIfAborted();
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EACCES")
        throw new OcidError(
          "PERMISSION_DENIED",
          `${this.#socket}: this user may not speak to the Docker engine`,
          { cause: error },
        );
      throw new OcidError(
        "UNAVAILABLE",
        `no Docker engine answers at ${this.#socket} (${(error as Error).message}); DOCKER_HOST says where it is`,
        { cause: error },
      );
    }
  }

  async #read(answer: IncomingMessage, what: string, onLine?: (line: string) => void): Promise<Uint8Array> {
    if (answer.statusCode !== 200) await this.#refuse(answer, what);
    const bytes = await readCapped(answer, maxAnswerBytes, "the engine's answer");
    if (onLine)
      for (const line of Buffer.from(bytes).toString().split("\n")) onLine(line.slice(0, maxLineBytes));
    return bytes;
  }

  async #refuse(answer: IncomingMessage, what: string): Promise<never> {
    const body = await readCapped(answer, maxLineBytes, "the engine's error").catch(() => new Uint8Array());
    const code = answer.statusCode === 404 ? "NOT_FOUND" : "FAILED_PRECONDITION";
    throw new OcidError(
      code,
      `the engine at ${this.#socket} refuses ${what}: ${messageIn(Buffer.from(body).toString())}`,
    );
  }
}

/** Loading answers with success and tells of failures in its report. */
function refuseReportedError(line: string): void {
  if (!line.startsWith("{")) return;
  const found: unknown = JSON.parse(line);
  const error = (found as { readonly error?: unknown }).error;
  if (error !== undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `the engine could not load the image: ${String(error).slice(0, 500)}`,
    );
}

function messageIn(body: string): string {
  try {
    const { message } = JSON.parse(body) as { readonly message?: unknown };
    if (typeof message === "string") return message.slice(0, 500);
  } catch {
    // Not every engine answers in JSON.
  }
  return body.trim().slice(0, 500) || "without a reason";
}

/** Slashes belong to the name, all else is taken as it is. */
function escaped(name: string): string {
  return name.split("/").map(encodeURIComponent).join("/");
}
