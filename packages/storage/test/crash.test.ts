import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openStore } from "@ocid/storage";
import { leakCheck, tempRoot, unmountBelow } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Blob, census, collect, peersOn, requirePeers, smallBlob, storeImage } from "./store-fixture.ts";

/** Every step takes minutes; in between, every eighth, beginning with another one each day. OCID_EXHAUSTIVE=1 for all. */
const stride = process.env["OCID_EXHAUSTIVE"] ? 1 : 8;
const first = 1 + (new Date().getDate() % stride);

const points = fileURLToPath(new URL("./crash-points.ts", import.meta.url));
const program = fileURLToPath(new URL("./crash-program.ts", import.meta.url));
const leaks = leakCheck();
const root = tempRoot("crash-");
const layersFile = join(root.path, "layers.json");
const work = join(root.path, "work");
let layers: readonly Blob[];

beforeAll(async () => {
  requirePeers();
  layers = [smallBlob(root.path, "base"), smallBlob(root.path, "top")];
  writeFileSync(layersFile, JSON.stringify(layers));
  await using store = await openStore(storeAt("empty"));
  void store;
});

afterAll(async () => {
  root.remove();
  await leaks.expectClean();
});

function storeAt(name: string) {
  return { root: join(root.path, name, "r"), runRoot: join(root.path, name, "rr") };
}

/** Runs an operation on the store at `work`, killed before the step of that number; 0 for none. Returns how many steps there were. */
function runOperation(
  operation: string,
  killAt: number,
): { readonly killed: boolean; readonly steps: number } {
  const countFile = join(root.path, "count");
  const { root: R, runRoot: RR } = storeAt("work");
  const result = spawnSync(
    process.execPath,
    [
      ...["--conditions=@ocid/source", "--no-warnings"],
      ...["--import", points, program],
      ...[operation, R, RR, layersFile],
    ],
    {
      encoding: "utf8",
      env: { ...process.env, CRASH_ROOT: work, CRASH_AT: String(killAt), CRASH_COUNT: countFile },
    },
  );
  if (result.signal === "SIGKILL") return { killed: true, steps: killAt };
  if (result.status !== 0) throw new Error(`${operation} failed:\n${result.stderr}`);
  return { killed: false, steps: Number(readFileSync(countFile, "utf8")) };
}

function reset(from: string): void {
  unmountBelow(work);
  execFileSync("rm", ["-rf", work]);
  cpSync(join(root.path, from), work, { recursive: true, verbatimSymlinks: true });
}

/** What must hold after any crash once somebody has opened the store again. */
async function expectSound(images: readonly number[]): Promise<void> {
  await using store = await openStore(storeAt("work"));
  await store.recover();
  const findings = await collect(store.check({ deep: true }));
  expect(findings.filter(finding => finding.kind !== "no-record")).toEqual([]);
  await store.collectGarbage();
  expect(await collect(store.check({ deep: true }))).toEqual([]);
  const { records, directories, links } = census(store.root);
  expect(directories).toEqual(records);
  expect(links).toBe(records.length);
  expect(images).toContain((await store.listImages()).length);
  for (const { id } of await store.listContainers()) await store.mountContainer(id);
}

describe.each([
  // operation, the store before, how many images may be there after
  { operation: "pull", before: "empty", images: [0, 1], repeat: "pull" },
  { operation: "remove", before: "one-image", images: [0, 1], repeat: "remove" },
  { operation: "create", before: "one-image", images: [1], repeat: "create" },
  { operation: "delete", before: "one-container", images: [1], repeat: "delete" },
  { operation: "mount", before: "one-image", images: [1], repeat: "mount" },
  { operation: "commit", before: "one-container", images: [1, 2], repeat: "commit" },
])("killed at each step of $operation", ({ operation, before, images, repeat }) => {
  beforeAll(async () => {
    if (before === "empty") return;
    await using store = await openStore(storeAt(before));
    const image = await storeImage(store, "localhost/crash:1", layers);
    if (before === "one-container")
      await store.createContainer({ id: "c".repeat(64), name: "crash", imageId: image.id });
  });

  test("the store is sound after it, and the repeat succeeds", { timeout: 600_000 }, async () => {
    reset(before);
    const { steps } = runOperation(operation, 0);
    expect(steps).toBeGreaterThan(10);
    let runs = 0;
    let kills = 0;
    for (let at = first; at <= steps; at += stride) {
      runs++;
      reset(before);
      // Names are random, so that a run may have a step more or less than another.
      if (runOperation(operation, at).killed) kills++;
      await expectSound(images);
      if (runs % 5 === 0) {
        reset(before);
        runOperation(operation, at);
        const { root: R, runRoot: RR } = storeAt("work");
        peersOn(R, RR).podman("images", "-q");
        runOperation(repeat, 0);
        await expectSound(images);
      }
    }
    console.info(`${operation}: ${kills} kills at ${steps} steps, sound after each`);
    expect(kills).toBeGreaterThanOrEqual(runs - 2);
  });
});
