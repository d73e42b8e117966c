import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { tryLockFile } from "@ocid/host";
import { makeLargeLayer, startTestRegistry, type TestRegistry } from "@ocid/registry/testing";
import { digestHex } from "@ocid/spec";
import { openStore } from "@ocid/storage";
import { tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";

// A pull that unpacks on the fly is killed in the middle of a layer; the next one fetches what is missing and no more.

const layer = makeLargeLayer(500_000_000);
const root = tempRoot("ocid-resume-");
let registry: TestRegistry;

beforeAll(async () => {
  registry = await startTestRegistry();
  registry.addBlob("test/image", layer);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  root.remove();
});

const partials = join(root.path, "root/ocid/partial");

function keptBytes(): number {
  const names = existsSync(partials) ? readdirSync(partials) : [];
  return names
    .filter(name => !name.endsWith(".lock"))
    .reduce((sum, name) => sum + statSync(join(partials, name)).size, 0);
}

const sentBytes = () => registry.requests.reduce((sum, { sent }) => sum + sent, 0);

function startStaging(): ChildProcess {
  const program = fileURLToPath(new URL("./stage-program.ts", import.meta.url));
  return spawn(
    process.execPath,
    ["--conditions=@ocid/source", program, root.path, registry.host, layer.digest, String(layer.size)],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
}

test("a killed pull of 500 MB goes on to the last byte", async () => {
  // From some part on, all connections fall silent in the middle.
  registry.fail({ path: /blobs/, after: 12, fault: { kind: "hang", afterBytes: 5_000_000 } });
  const killed = startStaging();
  while (keptBytes() < 200_000_000) {
    expect(killed.exitCode).toBeNull();
    await sleep(20);
  }
  killed.kill("SIGKILL");
  await once(killed, "exit");
  const kept = keptBytes();
  expect(kept).toBeLessThan(layer.size / 2);

  {
    await using store = await openStore({ root: join(root.path, "root"), runRoot: join(root.path, "run") });
    expect(store.partialDownloads()).toMatchObject([{ digest: layer.digest, bytes: kept, inUse: false }]);
  }
  registry.heal();
  registry.requests.length = 0;
  const [code] = await once(startStaging(), "exit");
  expect(code).toBe(0);
  expect(sentBytes()).toBe(layer.size - kept);
  expect(keptBytes()).toBe(0);

  await using store = await openStore({ root: join(root.path, "root"), runRoot: join(root.path, "run") });
  const stored = await store.findLayer([layer.digest as never]);
  expect(stored?.compressedDigest).toBe(layer.digest);
  expect(stored?.diffSize).toBe(layer.size);
  expect(digestHex(layer.digest)).toBe(stored?.id);
});

test("what nobody comes back for can be cleared away, but not what is being fetched", async () => {
  const root2 = join(root.path, "second");
  const lost = "ab".repeat(32);
  await using store = await openStore({ root: join(root2, "root"), runRoot: join(root2, "run") });
  const directory = join(root2, "root/ocid/partial");
  mkdirSync(directory, { recursive: true });
  for (const offset of [0, 100]) writeFileSync(join(directory, `${lost}.${offset}`), "x".repeat(50));
  expect(store.partialDownloads()).toMatchObject([{ digest: `sha256:${lost}`, bytes: 100, inUse: false }]);
  {
    using _lock = tryLockFile(join(directory, `${lost}.lock`), { mode: "write" });
    expect(store.partialDownloads()).toMatchObject([{ inUse: true }]);
    expect(store.clearPartialDownloads()).toEqual([]);
  }
  expect(store.clearPartialDownloads()).toEqual([`sha256:${lost}`]);
  expect(readdirSync(directory)).toEqual([]);
});
