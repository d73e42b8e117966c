import { execFile } from "node:child_process";
import { appendFileSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { copyImage, createRegistryDestination, importImage } from "@ocid/image-copy";
import { createRegistryClient } from "@ocid/registry";
import { type Digest, parseReference } from "@ocid/spec";
import { startDockerRegistry } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DaemonUnderTest, startDaemonUnderTest } from "./daemon-under-test.ts";

// A node with an image of each kind, and a container that runs what its name no longer means.

let daemon: DaemonUnderTest;
beforeAll(async () => {
  daemon = await startDaemonUnderTest();
});
afterAll(() => daemon[Symbol.asyncDispose]());

const ocic = join(import.meta.dirname, "../../../apps/ocic/dist/ocic");

function runOcic(...args: readonly string[]): Promise<{ readonly code: number; readonly stdout: string }> {
  const flags = [
    "--root",
    join(daemon.root, "r"),
    "--runroot",
    join(daemon.root, "rr"),
    "--tls-verify=false",
  ];
  const socket = ["--runtime-endpoint", join(daemon.root, "ocid.sock")];
  return new Promise((resolve, reject) =>
    execFile(ocic, [...flags, ...socket, ...args], (error, stdout, stderr) => {
      if (error && typeof error.code !== "number") reject(error);
      else if (stderr !== "") reject(new Error(stderr));
      else resolve({ code: error ? Number(error.code) : 0, stdout });
    }),
  );
}

/** Publishes an image with one file. */
async function publish(name: string, text: string): Promise<Digest> {
  const files = join(daemon.root, "files", encodeURIComponent(`${name} ${text}`));
  mkdirSync(files, { recursive: true });
  writeFileSync(join(files, "content"), text);
  await using client = createRegistryClient({ tlsVerify: false });
  await using source = await importImage(files, { created: "2026-02-03T04:05:06Z" });
  return (await copyImage(source, createRegistryDestination(client, parseReference(name)))).digest;
}

async function pull(name: string): Promise<string> {
  return (await daemon.images.pullImage({ image: { image: name } })).imageRef;
}

test("verify --all gives each image its answer", async () => {
  const name = (tag: string) => `${daemon.registry}/verify/image:${tag}`;
  const digests = new Map<string, Digest>();
  for (const tag of ["same", "stale", "gone", "tampered"]) {
    digests.set(tag, await publish(name(tag), tag));
    await pull(name(tag));
  }
  const moved = await publish(name("stale"), "another");
  await using client = createRegistryClient({ tlsVerify: false });
  const { registry, repository } = parseReference(name("gone"));
  await client.deleteManifest({ registry, repository, digest: digests.get("gone")! }, { withTags: true });
  const [spoilt] = globSync(join(daemon.root, "r/overlay/*/diff/content")).filter(
    path => readFileSync(path, "utf8") === "tampered",
  );
  appendFileSync(spoilt!, "!");
  mkdirSync(join(daemon.root, "other"));
  const other = await startDockerRegistry({ directory: join(daemon.root, "other") });
  const unreachable = `${other.host}/verify/image:1`;
  appendFileSync(
    join(daemon.root, "registries.conf"),
    `[[registry]]\nlocation = "${other.host}"\ninsecure = true\n`,
  );
  await publish(unreachable, "unknown");
  await pull(unreachable);
  await other[Symbol.asyncDispose]();

  const { code, stdout } = await runOcic("verify", "--all", "--json");
  const found = new Map<string, Record<string, unknown>>(
    JSON.parse(stdout).map((result: { name: string }) => [result.name, result]),
  );
  expect(code).toBe(23);
  expect(found.get(name("same"))).toMatchObject({ verdict: "same", remoteDigest: digests.get("same") });
  expect(found.get(name("stale"))).toMatchObject({
    verdict: "stale",
    localDigest: digests.get("stale"),
    remoteDigest: moved,
    since: "2026-02-03T04:05:06Z",
  });
  expect(found.get(name("gone"))).toMatchObject({ verdict: "gone" });
  expect(found.get(name("tampered"))).toMatchObject({
    verdict: "tampered",
    damage: { layer: expect.stringMatching(/^sha256:/), file: "content" },
  });
  expect(found.get(unreachable)).toMatchObject({ verdict: "unknown" });
  const codes = { same: 0, stale: 20, gone: 21, tampered: 23 };
  for (const [tag, expected] of Object.entries(codes))
    expect([tag, (await runOcic("verify", name(tag))).code]).toEqual([tag, expected]);
  expect((await runOcic("verify", unreachable)).code).toBe(22);
  expect((await runOcic("verify", "--no-content", name("tampered"))).code).toBe(0);
});

test("tells of the image that a container runs, not of what its name means by now", async () => {
  await pull(daemon.image);
  const sandbox = daemon.sandboxConfig("verified");
  const { podSandboxId } = await daemon.runtime.runPodSandbox({ config: sandbox });
  const { containerId } = await daemon.runtime.createContainer({
    podSandboxId,
    config: {
      metadata: { name: "c", attempt: 0 },
      image: { image: daemon.image },
      command: ["sleep", "1000"],
      logPath: "c.log",
    },
    sandboxConfig: sandbox,
  });
  await daemon.runtime.startContainer({ containerId });
  expect((await runOcic("verify", "--container", containerId)).code).toBe(0);
  await publish(daemon.image, "the next release");
  await pull(daemon.image);
  expect((await runOcic("verify", daemon.image)).code).toBe(0);
  expect((await runOcic("verify", "--container", containerId)).code).toBe(20);
  const { stdout } = await runOcic("verify", "--all", "--json");
  const rows = JSON.parse(stdout).filter((row: { name: string }) => row.name === daemon.image);
  expect(rows).toMatchObject([
    { verdict: "same", containers: [] },
    { verdict: "stale", containers: [containerId] },
  ]);
});
