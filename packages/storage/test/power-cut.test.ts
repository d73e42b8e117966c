import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openStore } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BlockDevice, cutPowerProgram } from "./block-device.ts";
import {
  type Before,
  type Blob,
  busyboxBlob,
  collect,
  prepareStore,
  smallBlob,
  tarDigest,
} from "./store-fixture.ts";

const exhaustive = Boolean(process.env["OCID_EXHAUSTIVE"]);
const stride = exhaustive ? 1 : 10;
const patience = exhaustive ? 3_600_000 : 600_000;
const first = 1 + (new Date().getDate() % stride);

const points = fileURLToPath(new URL("./crash-points.ts", import.meta.url));
const program = fileURLToPath(new URL("./crash-program.ts", import.meta.url));
const leaks = leakCheck();
const root = tempRoot("power-");
const device = new BlockDevice(root.path);
const place = { root: join(device.mountPoint, "r"), runRoot: join(root.path, "rr") };
const layersFile = join(root.path, "layers.json");
let layers: readonly Blob[];

beforeAll(() => {
  layers = [busyboxBlob(root.path), smallBlob(root.path, "base"), smallBlob(root.path, "top")];
  writeFileSync(layersFile, JSON.stringify(layers));
});

afterAll(async () => {
  device.unmount();
  root.remove();
  await leaks.expectClean();
});

/** Runs an operation in a process that cuts the power before the step of that number; 0 for none. */
async function run(
  operation: string,
  cutAt: number,
): Promise<{ readonly cut: boolean; readonly steps: number }> {
  const countFile = join(root.path, "count");
  const cutFile = join(root.path, "cut");
  rmSync(cutFile, { force: true });
  const child = spawn(
    process.execPath,
    [
      ...["--conditions=@ocid/source", "--no-warnings"],
      ...["--import", points, program],
      ...[operation, place.root, place.runRoot, layersFile],
    ],
    {
      stdio: "ignore",
      env: {
        ...process.env,
        CRASH_ROOT: device.mountPoint,
        CRASH_AT: String(cutAt),
        CRASH_COUNT: countFile,
        CRASH_CUT: cutFile,
        CRASH_POWER: device.mountPoint,
        CRASH_POWER_PROGRAM: cutPowerProgram,
      },
    },
  );
  const [code, signal] = await new Promise<[number | null, string | null]>(resolve =>
    child.once("exit", (...end) => resolve(end)),
  );
  // Who sees the disk fail before the signal ends with an error, and has changed nothing on it by then.
  if (signal === "SIGKILL" || existsSync(cutFile)) return { cut: true, steps: cutAt };
  if (code !== 0) throw new Error(`${operation} ended with ${code}`);
  return { cut: false, steps: Number(readFileSync(countFile, "utf8")) };
}

async function prepare(state: Before): Promise<void> {
  device.format();
  rmSync(place.runRoot, { recursive: true, force: true });
  await using store = await openStore(place);
  await prepareStore(store, state, layers);
}

/** After a boot: every layer that is there is complete and correct, every image has all of its own. */
async function expectSound(): Promise<{ readonly images: number; readonly containers: number }> {
  rmSync(place.runRoot, { recursive: true, force: true });
  await using store = await openStore(place);
  await store.recover();
  const findings = await collect(store.check({ deep: true }));
  expect(findings.filter(finding => finding.kind !== "no-record")).toEqual([]);
  await store.collectGarbage();
  expect(await collect(store.check({ deep: true }))).toEqual([]);
  for (const image of await store.listImages()) {
    for (const layer of await store.layerChain(image.layerId!))
      expect(await tarDigest(store, layer.id)).toBe(layer.diffId);
    for (const key of image.bigDataNames)
      expect((await store.readImageData(image.id, key)).byteLength).toBeGreaterThan(0);
  }
  return {
    images: (await store.listImages()).length,
    containers: (await store.listContainers()).length,
  };
}

interface Operation {
  readonly operation: string;
  readonly before: Before;
  readonly done: { readonly images: number; readonly containers: number };
  /** Only the repeat makes the store sound again: it was damaged before. */
  readonly damaged?: boolean;
}

describe.each<Operation>([
  { operation: "pull", before: "empty", done: { images: 1, containers: 0 } },
  { operation: "remove", before: "one-image", done: { images: 0, containers: 0 } },
  { operation: "create", before: "one-image", done: { images: 1, containers: 1 } },
  { operation: "delete", before: "one-container", done: { images: 1, containers: 0 } },
  { operation: "mount", before: "one-image", done: { images: 1, containers: 0 } },
  { operation: "commit", before: "one-container", done: { images: 2, containers: 1 } },
  { operation: "repair", before: "damaged-image", done: { images: 1, containers: 0 }, damaged: true },
  { operation: "quarantine", before: "one-image", done: { images: 0, containers: 0 } },
  { operation: "put-back", before: "in-quarantine", done: { images: 1, containers: 0 } },
])("the power goes during $operation", ({ operation, before, done, damaged }) => {
  test("what was done lasts", async () => {
    await prepare(before);
    await run(operation, 0);
    device.cutPower();
    device.restart();
    expect(await expectSound()).toEqual(done);
  });

  test("at any step nothing is half there", { timeout: patience }, async () => {
    await prepare(before);
    const { steps } = await run(operation, 0);
    let cuts = 0;
    let runs = 0;
    for (let at = first; at <= steps; at += stride) {
      await prepare(before);
      runs++;
      if ((await run(operation, at)).cut) cuts++;
      device.restart();
      if (damaged) {
        rmSync(place.runRoot, { recursive: true, force: true });
        await run(operation, 0);
      }
      await expectSound();
    }
    console.info(`${operation}: ${cuts} power cuts at ${steps} steps, nothing half there`);
    expect(cuts).toBeGreaterThanOrEqual(runs - 2);
  });
});

test("the power goes at any moment of a pull", { timeout: patience }, async () => {
  for (let at = 0; at < (exhaustive ? 60 : 6); at++) {
    await prepare("empty");
    const pull = run("pull", 0).catch(() => undefined);
    await sleep(randomInt(150, 700));
    device.cutPower();
    await pull;
    device.restart();
    await expectSound();
  }
});
