import type { ServerResponse } from "node:http";
import { type Digest, mediaTypes } from "@ocid/spec";
import { type Call, readAll, refuse } from "./call.ts";
import { sendBody } from "./faults.ts";
import type { MemoryRepository } from "./memory-repository.ts";
import type { TestRegistryOptions } from "./test-registry.ts";

/** A blob, or the range of it that is asked for. */
export async function answerBlob({ request, response, repository, name, fault, seen }: Call): Promise<void> {
  const blob = repository.blobs.get(name as Digest);
  if (!blob) return refuse(response, 404, "BLOB_UNKNOWN");
  const [, first, last = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
  if (fault?.kind === "refuseRange" && first !== undefined) return refuse(response, 416, "RANGE_INVALID");
  const isRanged = first !== undefined && fault?.kind !== "ignoreRange";
  const from = isRanged ? Number(first) : 0;
  const to = isRanged && last !== "" ? Math.min(Number(last) + 1, blob.size) : blob.size;
  if (from >= to && blob.size > 0) return refuse(response, 416, "RANGE_INVALID");
  const length = fault?.kind === "wrongLength" ? fault.length : to - from;
  response.writeHead(isRanged ? 206 : 200, {
    "docker-content-digest": blob.digest,
    ...(fault?.kind === "endless" ? {} : { "content-length": length }),
    ...(isRanged ? { "content-range": `bytes ${from}-${to - 1}/${blob.size}` } : {}),
  });
  if (request.method === "HEAD") return void response.end();
  const shift = fault?.kind === "lieAboutRange" && from > 0 ? -from : 0;
  const read = (a: number, b: number) => blob.read(from + shift + a, from + shift + b);
  seen.sent = await sendBody(response, to - from, read, fault);
}

/** Fetches, takes in or deletes a manifest. */
export async function answerManifest(
  { request, response, repository, name, fault, seen }: Call,
  options: TestRegistryOptions,
): Promise<void> {
  if (request.method === "PUT") {
    const bytes = await readAll(request);
    const mediaType = request.headers["content-type"] ?? mediaTypes.ociManifest;
    const { digest } = repository.addManifest(bytes, mediaType, name.includes(":") ? undefined : name);
    const subject = options.referrers === false ? undefined : repository.subjectOf(bytes);
    const headers = { "docker-content-digest": digest, ...(subject ? { "oci-subject": subject } : {}) };
    return void response.writeHead(201, headers).end();
  }
  if (request.method === "DELETE") return answerDelete(response, repository, name, options);
  const found = repository.findManifest(name);
  if (!found) return refuse(response, 404, "MANIFEST_UNKNOWN");
  const { bytes, digest, mediaType } = found;
  const length = fault?.kind === "wrongLength" ? fault.length : bytes.byteLength;
  response.writeHead(200, {
    "content-type": mediaType,
    "docker-content-digest": digest,
    ...(fault?.kind === "endless" ? {} : { "content-length": length }),
  });
  if (request.method === "HEAD") return void response.end();
  seen.sent = await sendBody(response, bytes.byteLength, (a, b) => bytes.subarray(a, b), fault);
}

function answerDelete(
  response: ServerResponse,
  repository: MemoryRepository,
  name: string,
  options: TestRegistryOptions,
): void {
  if (!name.includes(":")) {
    if (options.deletesTags === false) return refuse(response, 405, "UNSUPPORTED");
    return repository.tags.delete(name)
      ? void response.writeHead(202).end()
      : refuse(response, 404, "MANIFEST_UNKNOWN");
  }
  if (!repository.deleteManifest(name as Digest)) return refuse(response, 404, "MANIFEST_UNKNOWN");
  response.writeHead(202).end();
}
