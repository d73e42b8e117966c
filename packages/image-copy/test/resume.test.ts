import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, statSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Digest, digestHex } from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findPartialBlobs } from "../src/index.ts";
import { makeTestImage, type TestImage } from "../src/testing/index.ts";

// A copy is killed in the middle of a layer; the next one fetches what is missing and no more.

const layerBytes = 32 * 1024 * 1024;
const root = tempRoot("ocid-resume-");
let image: TestImage;
let server: Server;
let host: string;
/** Bytes of the layer that were sent, and after how many the server falls silent. */
let sent = 0;
let pauseAfter = Number.POSITIVE_INFINITY;

beforeAll(async () => {
  image = await makeTestImage({
    layers: [{ files: { random: randomBytes(layerBytes) }, compression: "none" }],
  });
  server = createServer((request, response) => {
    const digest = request.url?.split("/").at(-1) as Digest;
    if (request.url === "/v2/") return response.end();
    if (request.url?.includes("/manifests/")) {
      response.setHeader("content-type", image.manifest.descriptor.mediaType);
      return response.end(image.manifest.bytes);
    }
    const bytes = image.blobs.get(digest);
    if (!bytes) return response.writeHead(404).end();
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    response.writeHead(from > 0 ? 206 : 200, {
      "content-length": bytes.byteLength - from,
      ...(from > 0 ? { "content-range": `bytes ${from}-${bytes.byteLength - 1}/${bytes.byteLength}` } : {}),
    });
    return send(response, bytes.subarray(from), digest === image.layers[0]!.digest);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
  root.remove();
});

async function send(response: ServerResponse, bytes: Uint8Array, isLayer: boolean): Promise<void> {
  const pieces = async function* () {
    for (let at = 0; at < bytes.byteLength; at += 256 * 1024) {
      if (isLayer && sent >= pauseAfter) await once(response, "close");
      const piece = bytes.subarray(at, at + 256 * 1024);
      if (isLayer) sent += piece.byteLength;
      yield piece;
    }
  };
  // Whoever is killed does not read to the end.
  await pipeline(Readable.from(pieces()), response).catch(() => {});
}

function startCopy(to: string): ChildProcess {
  const program = fileURLToPath(new URL("./copy-program.ts", import.meta.url));
  return spawn(
    process.execPath,
    ["--conditions=@ocid/source", program, `docker://${host}/test/image:v1`, to],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
}

describe.each(["oci", "dir"])("a copy to %s: that is killed", transport => {
  it("is resumed to the last byte", async () => {
    const directory = join(root.path, transport);
    const blobs = transport === "oci" ? join(directory, "blobs/sha256") : directory;
    const name = digestHex(image.layers[0]!.digest);
    sent = 0;
    pauseAfter = layerBytes / 2;
    const killed = startCopy(`${transport}:${directory}`);
    const kept = async () => (await findPartialBlobs(blobs, name).catch(() => []))[0]?.size ?? 0;
    while ((await kept()) < layerBytes / 2) {
      expect(killed.exitCode).toBeNull();
      await sleep(20);
    }
    killed.kill("SIGKILL");
    await once(killed, "exit");
    const size = await kept();
    expect(readdirSync(blobs)).not.toContain(name);

    sent = 0;
    pauseAfter = Number.POSITIVE_INFINITY;
    const [code] = await once(startCopy(`${transport}:${directory}`), "exit");
    expect(code).toBe(0);
    expect(sent).toBe(image.layers[0]!.size - size);
    expect(statSync(join(blobs, name)).size).toBe(image.layers[0]!.size);
    expect(await findPartialBlobs(blobs)).toEqual([]);
  });
});
