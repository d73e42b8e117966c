import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { silentLogger } from "@ocid/base";
import { copyImage, createStorageDestination, importImage } from "@ocid/image-copy";
import { parseReference } from "@ocid/spec";
import { openStore, scrubStore } from "@ocid/storage";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readScrubReport, startScrubber } from "../src/scrub.ts";

let directory: string;
let places: { root: string; runRoot: string };
let file: string;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "scrub-"));
  places = { root: join(directory, "r"), runRoot: join(directory, "rr") };
  mkdirSync(join(directory, "tree"));
  writeFileSync(join(directory, "tree/file"), "content".repeat(50_000));
  await using store = await openStore(places);
  await using source = await importImage(join(directory, "tree"), {});
  const reference = parseReference("localhost/box:1");
  const { image } = await copyImage(source, createStorageDestination(store, reference));
  const [layer] = await store.layerChain((await store.getImage(image!.id)).layerId!);
  file = join(places.root, "overlay", layer!.id, "diff/file");
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

test("a check in the background leaves what it has found, and what was sound before is found later", {
  timeout: 20_000,
}, async () => {
  const reportFile = join(directory, "scrub.json");
  expect(readScrubReport(reportFile)).toBeUndefined();
  using _scrubber = startScrubber({
    store: { ...places, bytesPerSecond: 1e9 },
    reportFile,
    intervalMs: 1,
    settleMs: 50,
    logger: silentLogger,
  });
  const reported = async (findings: number) => {
    while (readScrubReport(reportFile)?.findings.length !== findings) await sleep(20);
  };
  await reported(0);
  writeFileSync(file, "damaged");
  await reported(1);
  expect(readScrubReport(reportFile)?.findings[0]).toMatchObject({
    kind: "layer-content-changed",
    remedy: "fetch",
  });
  expect(readFileSync(file, "utf8")).toBe("damaged");
});

test("a check is no faster than asked for, and ends when it is told to", async () => {
  const start = performance.now();
  expect(await scrubStore({ ...places, bytesPerSecond: 500_000 })).toEqual([]);
  // 350,000 bytes at that speed; only that it is not faster can be said.
  expect(performance.now() - start).toBeGreaterThan(500);
  const controller = new AbortController();
  const slow = scrubStore({ ...places, bytesPerSecond: 1 }, { signal: controller.signal });
  controller.abort(new Error("enough"));
  await expect(slow).rejects.toThrow("enough");
});
