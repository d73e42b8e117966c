import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { digestBytes } from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  copyImage,
  createImageDestination,
  createLayoutDestination,
  createLayoutSource,
  inspectImage,
  openDockerDaemonSource,
  openImageSource,
  parseImageName,
} from "../src/index.ts";
import { makeTestImage } from "../src/testing/index.ts";

// An engine that answers as Docker's: podman's service, or the one that OCID_DOCKER_SOCKET names.

const root = tempRoot("ocid-docker-");
const store = [
  "--root",
  join(root.path, "root"),
  "--runroot",
  join(root.path, "run"),
  "--storage-driver",
  "vfs",
];
const socket = process.env["OCID_DOCKER_SOCKET"] ?? join(root.path, "engine.sock");
let service: ReturnType<typeof spawn> | undefined;

beforeAll(async () => {
  if (process.env["OCID_DOCKER_SOCKET"] !== undefined) return;
  service = spawn("podman", [...store, "system", "service", "--time", "0", `unix://${socket}`], {
    stdio: "ignore",
  });
  while (!existsSync(socket)) {
    expect(service.exitCode).toBeNull();
    await sleep(50);
  }
});

afterAll(async () => {
  if (service?.exitCode === null) {
    service.kill("SIGTERM");
    await once(service, "exit");
  }
  root.remove();
});

const backends = { dockerSocket: socket };
const options = { socket, temporaryDirectory: root.path };

it("gives an image to the engine, and takes it back with its id and layers", async () => {
  const image = await makeTestImage({ platform: { os: "linux", architecture: "amd64" } });
  const name = parseImageName("docker-daemon:localhost/ocid/test:v1");
  await using destination = createImageDestination(name, backends);
  const { changes } = await copyImage(image, destination, {
    platform: { os: "linux", architecture: "amd64" },
  });
  expect(changes).not.toEqual([]);

  for (const named of ["docker-daemon:localhost/ocid/test:v1", `docker-daemon:${image.configDigest}`]) {
    await using source = await openImageSource(parseImageName(named), backends);
    const found = await inspectImage(source);
    expect(digestBytes(found.rawConfig)).toBe(image.configDigest);
    expect(found.layers.map(({ digest }) => digest)).toEqual(image.diffIds);
    const layout = join(root.path, named.replace(/\W/g, "-"));
    await copyImage(source, createLayoutDestination(layout, "v1"));
    expect((await inspectImage(createLayoutSource(layout, "v1"))).config.rootfs.diff_ids).toEqual(
      image.diffIds,
    );
  }
});

it("exchanges images with skopeo through the engine", async () => {
  const image = await makeTestImage({ platform: { os: "linux", architecture: "amd64" } });
  const layout = join(root.path, "layout");
  await copyImage(image, createLayoutDestination(layout, "v1"));
  const skopeo = (...args: readonly string[]) =>
    promisify(execFile)("skopeo", ["--insecure-policy", "copy", ...args]);
  const theirName = "docker-daemon:localhost/ocid/theirs:v1";
  await skopeo("--dest-daemon-host", `unix://${socket}`, `oci:${layout}:v1`, theirName);
  await using theirs = await openDockerDaemonSource("localhost/ocid/theirs:v1", options);
  expect(digestBytes((await inspectImage(theirs)).rawConfig)).toBe(image.configDigest);

  await using ours = createImageDestination(parseImageName("docker-daemon:localhost/ocid/ours:v1"), backends);
  await copyImage(image, ours);
  const ourName = "docker-daemon:localhost/ocid/ours:v1";
  await skopeo("--src-daemon-host", `unix://${socket}`, ourName, `oci:${layout}:back`);
  expect((await inspectImage(createLayoutSource(layout, "back"))).config.rootfs.diff_ids).toEqual(
    image.diffIds,
  );
});

it("says that an image is not there", async () => {
  await expect(openDockerDaemonSource("localhost/ocid/none:v1", options)).rejects.toMatchObject({
    code: "NOT_FOUND",
  });
});
