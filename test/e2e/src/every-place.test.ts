import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  copyImage,
  createImageDestination,
  inspectImage,
  openImageSource,
  parseImageName,
} from "@ocid/image-copy";
import { makeTestImage, type TestImage } from "@ocid/image-copy/testing";
import { createRegistryClient, type RegistryClient } from "@ocid/registry";
import { digestBytes } from "@ocid/spec";
import { openStore, type Store } from "@ocid/storage";
import { type DockerRegistry, leakCheck, startDockerRegistry, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";

// From every place to every other one, local storage included; what lies there, skopeo reads, and finds the digest that
// we say. Pairs without storage and what skopeo writes are in image-copy's own tests.

const leaks = leakCheck();
const root = tempRoot("ocid-places-");
const places = ["docker", "oci", "oci-archive", "dir", "docker-archive", "containers-storage"] as const;
type Place = (typeof places)[number];
let dockerRegistry: DockerRegistry;
let registry: RegistryClient;
let store: Store;
let image: TestImage;

beforeAll(async () => {
  mkdirSync(join(root.path, "registry"));
  dockerRegistry = await startDockerRegistry({ directory: join(root.path, "registry") });
  registry = createRegistryClient({ tlsVerify: false });
  store = await openStore({ root: join(root.path, "r"), runRoot: join(root.path, "rr") });
  image = await makeTestImage({
    layers: [{ files: { a: "1", big: Buffer.alloc(300_000, "x") } }, { files: { b: "2" } }],
  });
});

afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  await dockerRegistry[Symbol.asyncDispose]();
  root.remove();
  await leaks.expectClean();
});

function nameOf(place: Place, name: string): string {
  if (place === "docker") return `docker://${dockerRegistry.host}/places/${name}:v1`;
  if (place === "containers-storage") return `containers-storage:r.test/places/${name}:v1`;
  const path = join(root.path, `${place}-${name}`);
  if (place === "dir") return `dir:${path}`;
  return place === "docker-archive"
    ? `docker-archive:${path}:r.test/places/${name}:v1`
    : `${place}:${path}:v1`;
}

async function copy(from: TestImage | string, to: string) {
  const backends = { registry, store };
  await using source =
    typeof from === "string"
      ? await openImageSource(parseImageName(from), backends)
      : { ...from, async [Symbol.asyncDispose]() {} };
  await using destination = createImageDestination(parseImageName(to), backends);
  return await copyImage(source, destination);
}

async function skopeo(...args: readonly string[]): Promise<Buffer> {
  const { stdout } = await promisify(execFile)("skopeo", ["--insecure-policy", ...args], {
    encoding: "buffer",
  });
  return stdout;
}

/** As skopeo names the same place. */
function theirName(name: string): string {
  return name.replace(
    "containers-storage:",
    `containers-storage:[overlay@${join(root.path, "r")}+${join(root.path, "rr")}]`,
  );
}

test.each(places)("from %s to all others", async from => {
  const start = nameOf(from, `start-${from}`);
  await copy(image, start);
  for (const to of places) {
    const there = nameOf(to, `${from}-to-${to}`);
    const { digest, sourceDigest, changes } = await copy(start, there);
    // A digest stays, or it is said why it does not.
    expect([from, to, digest === sourceDigest || changes.length > 0]).toEqual([from, to, true]);
    const keeps = from !== "docker-archive" && to !== "docker-archive";
    if (keeps) expect([from, to, digest]).toEqual([from, to, image.manifest.descriptor.digest]);
    await using source = await openImageSource(parseImageName(there), { registry, store });
    const found = await inspectImage(source);
    expect([from, to, digestBytes(found.rawConfig)]).toEqual([from, to, image.configDigest]);
    expect(found.config.rootfs.diff_ids).toEqual(image.diffIds);
    // Of an archive of docker's every reader makes a manifest of its own.
    if (to !== "docker-archive")
      expect([
        from,
        to,
        digestBytes(await skopeo("inspect", "--raw", "--tls-verify=false", theirName(there))),
      ]).toEqual([from, to, digest]);
  }
});

test("skopeo copies what is in our store, and we what it puts there", async () => {
  const ours = nameOf("containers-storage", "ours");
  await copy(image, ours);
  const out = join(root.path, "skopeo-out");
  await skopeo("copy", theirName(ours), `oci:${out}:v1`);
  const layout = nameOf("oci", "for-skopeo");
  await copy(image, layout);
  const theirs = nameOf("containers-storage", "theirs");
  await skopeo("copy", layout, theirName(theirs));
  const { digest } = await copy(theirs, nameOf("dir", "theirs"));
  expect(digest).toBe(image.manifest.descriptor.digest);
});
