import { createServer, type RequestListener } from "node:http";
import { join } from "node:path";
import { tempRoot } from "@ocid/testkit";
import { afterAll, expect, it } from "vitest";
import { copyImage } from "./copy-image.ts";
import { createDockerDaemonDestination, openDockerDaemonSource } from "./docker-daemon-transport.ts";
import { dockerSocket } from "./docker-engine.ts";
import { makeTestImage } from "./testing/index.ts";

// Engines that do not behave; the real ones are in test/docker-daemon.test.ts.

const root = tempRoot("ocid-engine-");
afterAll(() => root.remove());
let count = 0;

async function startEngine(answer: RequestListener): Promise<AsyncDisposable & { readonly socket: string }> {
  const socket = join(root.path, `${++count}.sock`);
  const server = createServer(answer);
  await new Promise<void>(resolve => server.listen(socket, resolve));
  return {
    socket,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

const options = (socket: string) => ({ socket, temporaryDirectory: root.path });

it.each([
  [undefined, process.platform === "win32" ? "//./pipe/docker_engine" : "/var/run/docker.sock"],
  ["unix:///run/user/1000/docker.sock", "/run/user/1000/docker.sock"],
  ["npipe:////./pipe/docker_engine", "//./pipe/docker_engine"],
])("DOCKER_HOST=%s is %s", (host, socket) => {
  expect(dockerSocket({ DOCKER_HOST: host })).toBe(socket);
});

it("takes no engine that is elsewhere, and does not tell its password", () => {
  const find = () => dockerSocket({ DOCKER_HOST: "ssh://me:secret@host.test" });
  expect(find).toThrow(expect.objectContaining({ code: "UNIMPLEMENTED" }));
  expect(find).toThrow(/ssh:\/\/host\.test/);
});

it("says where it looked for an engine", async () => {
  await expect(openDockerDaemonSource("x", options(join(root.path, "none")))).rejects.toMatchObject({
    code: "UNAVAILABLE",
    message: expect.stringContaining("DOCKER_HOST"),
  });
});

it("tells an image that is not there from an engine that fails", async () => {
  await using engine = await startEngine(({ url }, response) => {
    response.writeHead(url!.includes("gone") ? 404 : 500, { "content-type": "application/json" });
    response.end(JSON.stringify({ message: "no such image" }));
  });
  await expect(openDockerDaemonSource("gone", options(engine.socket))).rejects.toMatchObject({
    code: "NOT_FOUND",
    message: expect.stringContaining("no such image"),
  });
  await expect(openDockerDaemonSource("other", options(engine.socket))).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
  });
});

it("notices an archive that breaks off", async () => {
  await using engine = await startEngine(({ url }, response) => {
    if (url!.endsWith("/json")) return response.end('{"Id":"sha256:1"}');
    response.writeHead(200, { "content-length": 100_000 });
    response.write(Buffer.alloc(2048), () => response.destroy());
    return undefined;
  });
  await expect(openDockerDaemonSource("x", options(engine.socket))).rejects.toMatchObject({
    code: "UNAVAILABLE",
  });
});

it("takes a failure that is reported as a success for what it is", async () => {
  await using engine = await startEngine((request, response) => {
    request.resume().once("end", () => response.end('{"stream":"Loading"}\n{"error":"no space left"}\n'));
  });
  const reference = { registry: "r.test", repository: "a", tag: "v1" };
  await using destination = createDockerDaemonDestination(reference, options(engine.socket));
  await expect(copyImage(await makeTestImage(), destination)).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringContaining("no space left"),
  });
});

it("takes no digest for a name, and no index", async () => {
  const { manifest } = await makeTestImage();
  const reference = { registry: "r.test", repository: "a", digest: manifest.descriptor.digest };
  expect(() => createDockerDaemonDestination(reference)).toThrow(/tags only/);
});
