import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { createRegistryClient, type RegistryClient } from "@ocid/registry";
import { type Digest, digestBytes, mediaTypes } from "@ocid/spec";
import { type DockerRegistry, startDockerRegistry, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  copyImage,
  createImageDestination,
  type ImageSource,
  inspectImage,
  openImageSource,
  parseImageName,
} from "../src/index.ts";
import { makeTestImage, makeTestIndex, type TestImage } from "../src/testing/index.ts";

// What we write, skopeo reads, and the reverse; digests are those that skopeo sees.

const root = tempRoot("ocid-skopeo-");
let dockerRegistry: DockerRegistry;
let registry: RegistryClient;
let image: TestImage;

beforeAll(async () => {
  dockerRegistry = await startDockerRegistry({ directory: root.path });
  registry = createRegistryClient({ tlsVerify: false });
  image = await makeTestImage({
    layers: [
      { files: { "etc/os-release": "NAME=test\n", big: Buffer.alloc(3_000_000, "0123456789") } },
      { files: { "etc/motd": "hello\n" }, compression: "zstd" },
      { files: { "etc/motd": "again\n" }, compression: "none" },
    ],
  });
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await dockerRegistry[Symbol.asyncDispose]();
  root.remove();
});

const transports = ["docker", "oci", "oci-archive", "dir"] as const;
type Transport = (typeof transports)[number];

/** What plain layers of docker's archives become. */
const layerTypes: Readonly<Record<Transport, string>> = {
  docker: mediaTypes.dockerLayerGzip,
  oci: mediaTypes.ociLayerGzip,
  "oci-archive": mediaTypes.ociLayerGzip,
  dir: mediaTypes.dockerLayer,
};

/** A place of a transport that nobody else uses. */
function place(transport: Transport | "docker-archive", name: string): string {
  if (transport === "docker") return `docker://${dockerRegistry.host}/test/${name}:v1`;
  const path = join(root.path, `${transport}-${name}`);
  return transport === "dir"
    ? `dir:${path}`
    : `${transport}:${path}:${transport === "docker-archive" ? "a.test/x:" : ""}v1`;
}

async function skopeo(...args: readonly string[]): Promise<Buffer> {
  const { stdout } = await promisify(execFile)("skopeo", ["--insecure-policy", ...args], {
    encoding: "buffer",
    maxBuffer: 16 * 1024 * 1024,
  });
  return stdout;
}

async function skopeoCopy(from: string, to: string, ...args: readonly string[]): Promise<void> {
  await skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", ...args, from, to);
}

async function skopeoRaw(from: string): Promise<Buffer> {
  return await skopeo("inspect", "--raw", "--tls-verify=false", from);
}

async function ourCopy(from: ImageSource | string, to: string, options = {}): Promise<Digest> {
  await using source =
    typeof from === "string"
      ? await openImageSource(parseImageName(from), { registry })
      : { ...from, async [Symbol.asyncDispose]() {} };
  await using destination = createImageDestination(parseImageName(to), { registry });
  return (await copyImage(source, destination, options)).digest;
}

describe("with skopeo", () => {
  it.each(transports)("is read from %s", async transport => {
    const to = place(transport, `ours-${transport}`);
    const digest = await ourCopy(image, to, { preserveDigests: true });
    expect(digestBytes(await skopeoRaw(to))).toBe(digest);
    // Copying has it verify each blob, and the layers against the config.
    await skopeoCopy(to, `dir:${join(root.path, `read-${transport}`)}`, "--preserve-digests");
  });

  it.each(transports.flatMap(from => transports.map(to => [from, to] as const)))(
    "takes what skopeo put into %s on to %s with its digest",
    async (from, to) => {
      const start = place("oci", `start-${from}-${to}`);
      await ourCopy(image, start);
      const there = place(from, `theirs-${from}-${to}`);
      await skopeoCopy(start, there);
      const expected = digestBytes(await skopeoRaw(there));
      const ours = place(to, `on-${from}-${to}`);
      expect(await ourCopy(there, ours, { preserveDigests: true })).toBe(expected);
      expect(digestBytes(await skopeoRaw(ours))).toBe(expected);
    },
  );

  it.each(transports)("exchanges archives of docker's, from and to %s", async transport => {
    const start = place(transport, `image-${transport}`);
    // This skopeo gives up on zstd where it writes for docker.
    await ourCopy(image, start, { layerCompression: "gzip" });
    const saved = place("docker-archive", `ours-${transport}`);
    await ourCopy(start, saved);
    const config = JSON.parse((await skopeo("inspect", "--config", saved)).toString()) as {
      rootfs: { diff_ids: string[] };
    };
    expect(config.rootfs.diff_ids).toEqual(image.diffIds);
    const theirs = place("docker-archive", `theirs-${transport}`);
    await skopeoCopy(start, theirs);
    const back = place(transport, `back-${transport}`);
    await ourCopy(theirs, back);
    await using source = await openImageSource(parseImageName(back), { registry });
    const inspected = await inspectImage(source);
    expect(inspected.config.rootfs.diff_ids).toEqual(image.diffIds);
    expect(inspected.manifest.layers.map(layer => layer.mediaType)).toEqual(
      image.layers.map(() => layerTypes[transport]),
    );
    await skopeoCopy(back, `dir:${join(root.path, `docker-archive-read-${transport}`)}`);
  });

  it.each(transports)("agrees on an index in %s", async transport => {
    const platforms = ["amd64", "arm64"].map(architecture => ({ os: "linux", architecture }));
    const index = makeTestIndex(
      await Promise.all(
        platforms.map(async platform => ({
          platform,
          image: await makeTestImage({ platform, layers: [{ files: { arch: platform.architecture } }] }),
        })),
      ),
    );
    const to = place(transport, `index-${transport}`);
    const digest = await ourCopy(index, to, { all: true });
    expect(digest).toBe(index.manifest.descriptor.digest);
    const theirs = place(transport, `index-theirs-${transport}`);
    await skopeoCopy(to, theirs, "--all", "--preserve-digests");
    const on = `dir:${join(root.path, `index-on-${transport}`)}`;
    expect(await ourCopy(theirs, on, { all: true, preserveDigests: true })).toBe(digest);
  });

  it("converts as skopeo can read", async () => {
    const docker = place("docker", "converted");
    await ourCopy(image, docker, { format: "docker" });
    const raw = JSON.parse((await skopeoRaw(docker)).toString()) as { mediaType: string };
    expect(raw.mediaType).toBe(mediaTypes.dockerManifest);
    await skopeoCopy(docker, place("docker-archive", "converted"));
    const oci = place("oci", "converted");
    await ourCopy(docker, oci, { format: "oci", layerCompression: "zstd" });
    await skopeoCopy(oci, `dir:${join(root.path, "converted-dir")}`, "--preserve-digests");
  });
});
