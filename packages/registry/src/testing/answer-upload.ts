import type { Digest } from "@ocid/spec";
import { type Call, refuse } from "./call.ts";
import type { MemoryRepository } from "./memory-repository.ts";

/** Begins an upload, takes bytes of it in, says how far it is, ends it; or takes a blob over from another repository. */
export async function answerUpload(
  { request, response, url, repository, repositoryName, name, fault }: Call,
  findRepository: (name: string) => MemoryRepository | undefined,
): Promise<void> {
  const place = (id: string) => `/v2/${repositoryName}/blobs/uploads/${id}`;
  if (request.method === "POST") {
    const { searchParams } = url;
    const mounted = findRepository(searchParams.get("from") ?? "")?.blobs.get(
      searchParams.get("mount") as Digest,
    );
    if (mounted) {
      repository.addBlob(mounted);
      return void response.writeHead(201).end();
    }
    return void response.writeHead(202, { location: place(repository.startUpload()) }).end();
  }
  const pieces = repository.uploads.get(name);
  if (!pieces) return refuse(response, 404, "BLOB_UPLOAD_UNKNOWN");
  const size = () => pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  const head = () => ({ location: place(name), range: `0-${Math.max(0, size() - 1)}` });
  if (request.method === "GET") return void response.writeHead(204, head()).end();
  const start = /^(\d+)-/.exec(request.headers["content-range"] ?? "")?.[1];
  if (start !== undefined && Number(start) !== size()) {
    request.resume();
    return void response.writeHead(416, head()).end();
  }
  const limit = fault?.kind === "cut" ? fault.afterBytes : Number.POSITIVE_INFINITY;
  for await (const piece of request) {
    pieces.push((piece as Buffer).subarray(0, Math.max(0, limit - size())));
    if (size() >= limit) return void request.socket.destroy();
  }
  if (request.method === "PATCH") return void response.writeHead(202, head()).end();
  const blob = Buffer.concat(pieces);
  const { digest } = repository.addBlob(blob);
  repository.uploads.delete(name);
  if (digest !== url.searchParams.get("digest")) {
    repository.blobs.delete(digest);
    return refuse(response, 400, "DIGEST_INVALID");
  }
  response.writeHead(201).end();
}
