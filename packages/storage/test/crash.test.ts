import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openStore } from "@ocid/storage";
import { leakCheck, tempRoot, unmountBelow } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Before,
  type Blob,
  census,
  collect,
  peersOn,
  prepareStore,
  requirePeers,
  smallBlob,
} from "./store-fixture.ts";

/** Every step takes minutes; in between, every eighth, beginning with another one each day. OCID_EXHAUSTIVE=1 for all. */
const exhaustive = Boolean(process.env["OCID_EXHAUSTIVE"]);
const stride = exhaustive ? 1 : 8;
const patience = exhaustive ? 3_600_000 : 600_000;
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
});

afterAll(async () => {
  root.remove();
  await leaks.expectClean();
});

/** With images apart where the name says so. */
function storeAt(name: string, split = name.startsWith("split-")) {
  const place = (part: string) => join(root.path, name, part);
  return { root: place("r"), runRoot: place("rr"), ...(split ? { imageStore: place("images") } : {}) };
}

/** Runs an operation on the store at `work`, killed before the step of that number; 0 for none. Returns how many steps there were. */
function runOperation(
  operation: string,
  killAt: number,
  split: boolean,
): { readonly killed: boolean; readonly steps: number } {
  const countFile = join(root.path, "count");
  const { root: R, runRoot: RR, imageStore = "" } = storeAt("work", split);
  const result = spawnSync(
    process.execPath,
    [
      ...["--conditions=@ocid/source", "--no-warnings"],
      ...["--import", points, program],
      ...[operation, R, RR, layersFile, imageStore],
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
async function expectSound(images: readonly number[], split: boolean): Promise<void> {
  await using store = await openStore(storeAt("work", split));
  await store.recover();
  const findings = await collect(store.check({ deep: true }));
  expect(findings.filter(finding => finding.kind !== "no-record")).toEqual([]);
  await store.collectGarbage();
  expect(await collect(store.check({ deep: true }))).toEqual([]);
  for (const place of new Set([store.root, store.imageRoot])) {
    const { records, directories, links } = census(place);
    expect(directories).toEqual(records);
    expect(links).toBe(records.length);
  }
  expect(images).toContain((await store.listImages()).length);
  for (const { id } of await store.listContainers()) await store.mountContainer(id);
}

interface Operation {
  readonly operation: string;
  readonly before: Before;
  /** How many images may be there after. */
  readonly images: readonly number[];
  /** Only the repeat makes the store sound again: it was damaged before. */
  readonly damaged?: boolean;
  /** Whether images are apart from containers. */
  readonly split?: boolean;
}

describe.each<Operation>([
  { operation: "pull", before: "empty", images: [0, 1] },
  { operation: "remove", before: "one-image", images: [0, 1] },
  { operation: "create", before: "one-image", images: [1] },
  { operation: "delete", before: "one-container", images: [1] },
  { operation: "mount", before: "one-image", images: [1] },
  { operation: "commit", before: "one-container", images: [1, 2] },
  { operation: "repair", before: "damaged-image", images: [1], damaged: true },
  { operation: "quarantine", before: "one-image", images: [0, 1] },
  { operation: "put-back", before: "in-quarantine", images: [0, 1] },
  { operation: "pull", before: "empty", images: [0, 1], split: true },
  { operation: "remove", before: "one-image", images: [0, 1], split: true },
  { operation: "create", before: "one-image", images: [1], split: true },
  { operation: "quarantine", before: "one-image", images: [0, 1], split: true },
])(
  "killed at each step of $operation (images apart: $split)",
  ({ operation, before: state, images, damaged, split = false }) => {
    const before = split ? `split-${state}` : state;

    beforeAll(async () => {
      await using store = await openStore(storeAt(before));
      if ((await store.listImages()).length + store.listQuarantine().length === 0)
        await prepareStore(store, state, layers);
    });

    test("the store is sound after it, and the repeat succeeds", { timeout: patience }, async () => {
      reset(before);
      const { steps } = runOperation(operation, 0, split);
      expect(steps).toBeGreaterThan(10);
      let runs = 0;
      let kills = 0;
      for (let at = first; at <= steps; at += stride) {
        runs++;
        reset(before);
        // Names are random, so that a run may have a step more or less than another.
        if (runOperation(operation, at, split).killed) kills++;
        if (damaged) runOperation(operation, 0, split);
        await expectSound(images, split);
        if (runs % 5 === 0) {
          reset(before);
          runOperation(operation, at, split);
          const { root: R, runRoot: RR } = storeAt("work");
          peersOn(R, RR).podman("images", "-q");
          runOperation(operation, 0, split);
          await expectSound(images, split);
        }
      }
      console.info(`${operation}: ${kills} kills at ${steps} steps, sound after each`);
      expect(kills).toBeGreaterThanOrEqual(runs - 2);
    });
  },
);
