import { execFile } from "node:child_process";
import { randomInt } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openStore } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type Blob,
  census,
  collect,
  peersOn,
  requirePeers,
  smallBlob,
  storeImage,
  tarDigest,
  writeDirImage,
} from "./store-fixture.ts";

/**
 * Operations of each of our two processes; podman, skopeo and buildah do a third, a third and a sixth as many, being
 * slower: 300 and more together. OCID_EXHAUSTIVE=1 for a long run.
 */
const count = process.env["OCID_EXHAUSTIVE"] ? 420 : 108;

const program = fileURLToPath(new URL("./random-program.ts", import.meta.url));
const leaks = leakCheck();
const root = tempRoot("shared-");
const R = join(root.path, "r");
const RR = join(root.path, "rr");
const peers = peersOn(R, RR);
let images: readonly (readonly Blob[])[];

beforeAll(async () => {
  requirePeers();
  const base = smallBlob(root.path, "base");
  const middle = smallBlob(root.path, "middle");
  images = [
    [base],
    [base, middle],
    [base, middle, smallBlob(root.path, "top")],
    [base, smallBlob(root.path, "side")],
  ];
  await using store = await openStore({ root: R, runRoot: RR });
  await storeImage(store, "localhost/kept:1", [base, smallBlob(root.path, "kept")]);
  await storeImage(store, "localhost/kept:2", [base, middle, smallBlob(root.path, "kept2")]);
});

afterAll(async () => {
  root.remove();
  await leaks.expectClean();
});

async function ours(name: string): Promise<readonly string[]> {
  const imagesFile = join(root.path, `${name}.json`);
  writeFileSync(imagesFile, JSON.stringify(images));
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...["--conditions=@ocid/source", "--no-warnings", program],
    ...[name, R, RR, imagesFile, String(count)],
  ]);
  return stdout.trim().split("\n");
}

async function podmans(): Promise<number> {
  let done = 0;
  for (let at = 0; at < count / 3; at++) {
    const steps = [
      () => peers.podmanAsync("images"),
      () => peers.podmanAsync("create", "--name", `p${at}`, "--network", "none", "localhost/kept:1", "true"),
      () => peers.podmanAsync("rm", "-f", `p${at - 1}`),
      () => peers.podmanAsync("tag", "localhost/kept:1", `localhost/podman-${at}:1`),
      () => peers.podmanAsync("rmi", `localhost/theirs-${randomInt(images.length)}:1`),
    ];
    // An image that somebody else has just removed is not this test's business; podman may also have listed it before
    // and looked for its manifest after.
    await steps[at % steps.length]!().then(
      () => done++,
      error =>
        expect(String(error)).toMatch(
          /not known|no such|in use|image used|unable to find|no container|locating item named/i,
        ),
    );
  }
  return done;
}

async function skopeos(): Promise<number> {
  let done = 0;
  for (let at = 0; at < count / 3; at++) {
    const pick = at % images.length;
    const source = writeDirImage(join(root.path, `dir-${pick}`), images[pick]!);
    // Old skopeo takes layers one by one: one that it found can be gone when it needs it. It says so; we only count.
    await peers.skopeoAsync("copy", `dir:${source}`, peers.storageName(`localhost/theirs-${pick}:1`)).then(
      () => done++,
      error => expect(String(error)).toMatch(/not known|layer|image|identifier/i),
    );
  }
  return done;
}

/** Changes to images and copies of them, as a build makes them: working container, file, commit. */
async function buildahs(): Promise<number> {
  let done = 0;
  for (let at = 0; at < count / 24; at++) {
    const name = `built-${at}`;
    const steps = [
      () => peers.buildahAsync("from", "--pull-never", "--name", name, "localhost/kept:2"),
      () => peers.buildahAsync("config", "--label", `at=${at}`, name),
      () => peers.buildahAsync("commit", "--quiet", name, `localhost/built-${at % 2}:1`),
      () => peers.buildahAsync("rm", name),
    ];
    // Old buildah lists all containers of a store when it looks for one, and stumbles over those that go away meanwhile;
    // and its commit makes the record of an image first, which our processes may pick and remove before it is whole.
    for (const step of steps)
      await step().then(
        () => done++,
        error =>
          expect(String(error)).toMatch(
            /not known|no such|no container|not found|unable to|locating item|identifier is not/i,
          ),
      );
  }
  return done;
}

test("five programs at once lose nothing and leave nothing", { timeout: 600_000 }, async () => {
  const [first, second, podman, skopeo, buildah] = await Promise.all([
    ours("one"),
    ours("two"),
    podmans(),
    skopeos(),
    buildahs(),
  ]);
  expect(first!.length + second!.length).toBe(2 * count);
  expect(podman).toBeGreaterThan(0);
  expect(skopeo).toBeGreaterThan(0);
  expect(buildah).toBeGreaterThan(0);
  console.info(`done: ours ${2 * count}, podman ${podman}, skopeo ${skopeo}, buildah ${buildah}`);
  for (const name of readdirSync(join(R, "overlay-containers")))
    if (/^[0-9a-f]{64}$/.test(name)) peers.podman("rm", "-f", name);

  await using store = await openStore({ root: R, runRoot: RR });
  await store.recover();
  await store.collectGarbage();
  expect(await collect(store.check({ deep: true }))).toEqual([]);
  const kept = (await store.listImages()).flatMap(image => image.names).filter(name => name.includes("kept"));
  expect(kept.sort()).toEqual(["localhost/kept:1", "localhost/kept:2"]);
  const { records, directories, links } = census(R);
  expect(directories).toEqual(records);
  expect(links).toBe(records.length);
  for (const { layerId } of await store.listImages())
    for (const layer of await store.layerChain(layerId!))
      expect(await tarDigest(store, layer.id)).toBe(layer.diffId);
  const names = (await store.listImages()).flatMap(image => image.names);
  expect(new Set(names).size).toBe(names.length);
  expect(JSON.parse(readFileSync(join(RR, "overlay-layers/mountpoints.json"), "utf8"))).toEqual([]);
  peers.podman("rmi", "-a", "-f");
  expect(await store.listImages()).toEqual([]);
});
