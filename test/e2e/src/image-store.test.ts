import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DaemonUnderTest, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

// A daemon, and then ocic, with images in one place and containers in another.

let daemon: DaemonUnderTest;
let images: string;
const { pod, started, exec, remove } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest({
    prepare: root => ({ flags: ["--imagestore", join(root, "images")] }),
  });
  images = join(daemon.root, "images");
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

afterAll(async () => await daemon[Symbol.asyncDispose]());

const layers = (place: string) => readdirSync(join(place, "overlay")).filter(name => name.length === 64);

function ocic(...args: string[]) {
  const program = join(import.meta.dirname, "../../../apps/ocic/dist/ocic");
  const places = [
    "--root",
    join(daemon.root, "r"),
    "--runroot",
    join(daemon.root, "rr"),
    "--imagestore",
    images,
  ];
  const { status, stdout, stderr } = spawnSync(program, [...places, "--tls-verify", "false", ...args], {
    encoding: "utf8",
  });
  return { code: status, out: stdout, err: stderr };
}

test("ImageFsInfo and stats tell the two file systems apart, and containers go on over a kill", async () => {
  const made = await pod("split");
  const id = await started(made, "worker");
  await exec(id, "sh", "-c", "head -c 100000 /dev/zero > /written");
  expect(layers(images)).toHaveLength(1);
  expect(layers(join(daemon.root, "r"))).toHaveLength(1);
  const { imageFilesystems, containerFilesystems } = await daemon.images.imageFsInfo({});
  expect(imageFilesystems).toMatchObject([{ fsId: { mountpoint: images } }]);
  expect(containerFilesystems).toMatchObject([{ fsId: { mountpoint: join(daemon.root, "r") } }]);
  expect(imageFilesystems[0]!.usedBytes!.value).toBeGreaterThan(1_000_000n);
  expect(containerFilesystems[0]!.usedBytes!.value).toBeGreaterThanOrEqual(100_000n);
  expect(containerFilesystems[0]!.usedBytes!.value).toBeLessThan(1_000_000n);
  const { stats } = await daemon.runtime.containerStats({ containerId: id });
  expect(stats?.writableLayer?.fsId?.mountpoint).toBe(join(daemon.root, "r"));
  await daemon.kill();
  await daemon.start();
  expect(await exec(id, "sh", "-c", "wc -c < /written")).toBe("100000");
  await remove(made);
  expect(layers(join(daemon.root, "r"))).toEqual([]);
});

test("ocic checks, repairs, counts and collects in both", () => {
  expect(ocic("storage", "check", "--deep")).toMatchObject({ code: 0 });
  const [layer] = layers(images);
  const file = join(images, "overlay", layer!, "diff/bin/busybox");
  const whole = readFileSync(file);
  writeFileSync(file, "damaged");
  expect(ocic("storage", "check", "--deep").code).toBe(9);
  expect(ocic("storage", "repair", "--deep")).toMatchObject({ code: 0 });
  expect(readFileSync(file).equals(whole)).toBe(true);
  const [usage] = JSON.parse(ocic("--json", "storage", "df").out);
  expect(usage.freeableBytes).toBeGreaterThan(1_000_000);
  expect(ocic("storage", "gc").code).toBe(0);
  expect(layers(images)).toEqual([layer]);
});

test("the graph root has no images, and the last layer goes with the last of them", async () => {
  const { code, out } = ocic("--json", "images");
  expect(code).toBe(0);
  expect(out).toContain(daemon.image);
  expect(existsSync(join(daemon.root, "r/overlay-images/images.json"))).toBe(false);
  await daemon.images.removeImage({ image: { image: daemon.image } });
  expect(layers(images)).toEqual([]);
  expect(readdirSync(join(daemon.root, "r/overlay-layers")).filter(name => name.endsWith(".gz"))).toEqual([]);
});
