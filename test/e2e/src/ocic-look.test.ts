import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { copyImage, createRegistryDestination, importImage } from "@ocid/image-copy";
import { bytesSource, createRegistryClient, pushArtifact, type RegistryClient } from "@ocid/registry";
import { startTestRegistry, type TestRegistry } from "@ocid/registry/testing";
import { type Digest, digestBytes, parseReference } from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";

// Images that are looked into where they are: nothing of them is stored.

const ocic = join(import.meta.dirname, "../../../apps/ocic/dist/ocic");
const root = tempRoot("ocic-look-");
let registry: TestRegistry;
let client: RegistryClient;
const digests = new Map<string, Digest>();

beforeAll(async () => {
  registry = await startTestRegistry();
  client = createRegistryClient({ tlsVerify: false });
  for (const [tag, motd] of [
    ["v1", "hello\n"],
    ["v2", "hello again\n"],
  ] as const) {
    const tree = join(root.path, tag);
    mkdirSync(join(tree, "etc"), { recursive: true });
    writeFileSync(join(tree, "etc/motd"), motd);
    writeFileSync(join(tree, `etc/only-${tag}`), "");
    await using source = await importImage(tree, {
      config: { Labels: { tag }, Env: ["PATH=/bin"] },
      created: "2026-01-01T00:00:00Z",
    });
    digests.set(
      tag,
      (await copyImage(source, createRegistryDestination(client, parseReference(name(tag))))).digest,
    );
  }
});

afterAll(async () => {
  await client[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  root.remove();
});

function name(tag: string): string {
  return `${registry.host}/look/app:${tag}`;
}

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function start(...args: readonly string[]): Promise<Outcome> {
  const flags = ["--root", join(root.path, "r"), "--runroot", join(root.path, "rr"), "--tls-verify=false"];
  return new Promise((resolve, reject) =>
    execFile(ocic, [...flags, ...args], (error, stdout, stderr) => {
      if (error && typeof error.code !== "number") reject(error);
      else resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    }),
  );
}

async function run(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await start(...args);
  expect([code, stderr]).toEqual([0, ""]);
  return stdout;
}

test("ls and cat read a remote image", async () => {
  registry.requests.length = 0;
  expect(await run("ls", name("v1"))).toBe("etc/\n");
  expect(await run("ls", `docker://${name("v1")}:/etc`)).toBe("motd\nonly-v1\n");
  expect(await run("ls", "-R", `${name("v1")}:/`)).toBe("etc/\netc/motd\netc/only-v1\n");
  expect(await run("ls", "-l", `${name("v1")}:/etc/motd`)).toMatch(/^-rw-r--r-- .* 6 B .*\/etc\/motd\n$/);
  expect(JSON.parse(await run("ls", "--json", `${name("v1")}:/etc/motd`))).toMatchObject([
    { path: "etc/motd", type: "file", size: 6 },
  ]);
  expect(await run("cat", `${name("v1")}:/etc/motd`)).toBe("hello\n");
  expect(registry.requests.filter(({ url }) => url.includes("/tags/"))).toEqual([]);
  expect(await start("cat", `${name("v1")}:/etc/none`)).toMatchObject({ code: 3, stdout: "" });
  expect(await start("cat", name("v1"))).toMatchObject({ code: 2 });
  expect(existsSync(join(root.path, "r/overlay-images/images.json"))).toBe(false);
});

test("diff tells config and files", async () => {
  const text = await run("diff", name("v1"), name("v2"));
  expect(text).toContain("config config.Labels.tag: v1 -> v2\n");
  expect(text).toContain("C /etc/motd  (content)\nD /etc/only-v1\nA /etc/only-v2\n");
  expect(await run("diff", name("v1"), name("v1"))).toBe("the images are the same\n");
  const found = JSON.parse(await run("diff", "--json", "--no-files", name("v1"), name("v2")));
  expect(found).toMatchObject({ same: false, files: [], layers: { shared: 0 } });
});

test("inspect tells parts, and the tree of what refers to an image", async () => {
  const digest = digests.get("v1")!;
  const parent = { ...parseReference(name("v1")), tag: "sbom" };
  const push = async (subject: Digest, artifactType: string, tag: string) => {
    const described = await client.resolve({
      registry: parent.registry,
      repository: parent.repository,
      digest: subject,
    });
    const bytes = Buffer.from(artifactType);
    return await pushArtifact(
      client,
      { ...parent, tag },
      {
        artifactType,
        subject: described,
        blobs: [
          {
            descriptor: { mediaType: "text/plain", digest: digestBytes(bytes), size: bytes.byteLength },
            open: bytesSource(bytes),
          },
        ],
      },
    );
  };
  const sbom = await push(digest, "application/spdx+json", "sbom");
  await push(sbom.digest, "application/vnd.dev.cosign.artifact.sig.v1+json", "signature");
  expect(await run("inspect", "--referrers", name("v1"))).toMatch(
    /^sha256:.*\n└── sbom .*spdx\+json\n {4}└── signature .*cosign.*\n$/,
  );
  expect(JSON.parse(await run("inspect", "--labels", "--json", name("v1")))).toEqual({ tag: "v1" });
  expect(await run("inspect", "--layers", name("v1"))).toMatch(/LAYER .*\nsha256:.*tar\+gzip\n$/);
  expect(digestBytes(await run("inspect", "--raw", name("v1")))).toBe(digest);
  expect(digestBytes(await run("inspect", "--manifest", name("v1")))).toBe(digest);
  expect(JSON.parse(await run("inspect", "--config", name("v1")))).toMatchObject({
    config: { Labels: { tag: "v1" } },
  });
});

test("a copy that is cancelled leaves a piece to go on from, which is listed and cleared", async () => {
  const layer = registry.addBlob("look/app", Buffer.alloc(3_000_000, "0123456789abcdef"));
  const config = registry.addBlob(
    "look/app",
    Buffer.from('{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}'),
  );
  const document = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { ...config, mediaType: "application/vnd.example.artifact" },
    layers: [{ ...layer, mediaType: "application/octet-stream" }],
  };
  registry.addManifest("look/app", Buffer.from(JSON.stringify(document)), document.mediaType, "slow");
  registry.fail({ path: /\/blobs\//, fault: { kind: "hang", afterBytes: 1_500_000 } });
  const blobs = join(root.path, "layout/blobs/sha256");
  const child = execFile(ocic, [
    "--tls-verify=false",
    "copy",
    `docker://${name("slow")}`,
    `oci:${join(root.path, "layout")}`,
  ]);
  const ended = new Promise<number | null>(resolve => child.once("exit", resolve));
  while (!existsSync(blobs) || !readdirSync(blobs).some(file => file.endsWith(".partial"))) {
    expect(child.exitCode).toBeNull();
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  await new Promise(resolve => setTimeout(resolve, 500));
  child.kill("SIGINT");
  expect(await ended).toBe(130);
  registry.heal();
  const place = `oci:${join(root.path, "layout")}`;
  const listed = JSON.parse(await run("storage", "partial", "--json", place));
  expect(listed).toMatchObject([{ inUse: false, cleared: false }]);
  expect(listed[0].size).toBeGreaterThan(64 * 1024);
  expect(await run("storage", "partial", "--clear", place)).toContain("removed");
  expect(readdirSync(blobs).filter(file => file.endsWith(".partial"))).toEqual([]);
  expect(JSON.parse(await run("storage", "partial", "--json", place))).toEqual([]);
});
