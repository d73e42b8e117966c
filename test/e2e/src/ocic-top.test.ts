import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DaemonUnderTest, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

const ocic = join(import.meta.dirname, "../../../apps/ocic/dist/ocic");
let daemon: DaemonUnderTest;
const { pod, started } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
  await started(await pod("idle"), "c");
  await started(await pod("busy"), "c", {}, ["sh", "-c", "while :; do :; done"]);
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

const arguments_ = (...more: string[]) => [
  ...["top", "--runtime-endpoint", join(daemon.root, "ocid.sock"), "--seconds", "0.5"],
  ...more,
];

test("one picture has the busy pod first, within 80 columns; JSON has the same numbers", () => {
  const lines = execFileSync(ocic, arguments_("--once"), { encoding: "utf8" }).trimEnd().split("\n");
  expect(lines.map(line => line.split(/\s/)[0])).toEqual(["POD", "e2e/busy", "e2e/idle"]);
  expect(lines.every(line => line.length <= 80)).toBe(true);
  const uses = JSON.parse(execFileSync(ocic, arguments_("--json"), { encoding: "utf8" }));
  const busy = uses.find(({ name }: { name: string }) => name === "busy");
  expect(busy.cpuPercent).toBeGreaterThan(0);
  expect(busy.memoryBytes).toBeGreaterThan(0);
  expect(uses).toHaveLength(2);
});

test("an order or a pace that makes no sense is refused", () => {
  for (const wrong of [
    ["--sort", "colour"],
    ["--seconds", "never"],
  ])
    expect(spawnSync(ocic, arguments_("--once", ...wrong), { encoding: "utf8" }).status).toBe(2);
});
