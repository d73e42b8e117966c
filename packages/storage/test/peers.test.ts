import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type Logger, silentLogger } from "@ocid/base";
import { openStore, type Store } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Blob, peersOn, requirePeers, smallBlob, storeImage, writeDirImage } from "./store-fixture.ts";

const leaks = leakCheck();
const root = tempRoot("peers-");
const peers = peersOn(join(root.path, "r"), join(root.path, "rr"));
const warnings: { message: string; fields: Record<string, unknown> }[] = [];
const logger: Logger = {
  ...silentLogger,
  warn: (message, fields = {}) => warnings.push({ message, fields }),
};
let store: Store;
let base: Blob;

beforeAll(async () => {
  requirePeers();
  store = await openStore({ root: peers.root, runRoot: peers.runRoot, logger });
  base = smallBlob(root.path, "base");
  await storeImage(store, "localhost/first:1", [base]);
});

afterAll(async () => {
  await store[Symbol.asyncDispose]();
  root.remove();
  await leaks.expectClean();
});

/** Holds a file's whole-range record lock, as a program in Go or C does, until it is killed. */
async function holdRecordLock(path: string): Promise<ChildProcess> {
  const program =
    'use Fcntl; open F, "+<", $ARGV[0] or die $!; my $l = pack("s s x4 q q i x4", F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLKW, $l) or die $!; $| = 1; print "held\\n"; sleep 100';
  const child = spawn("perl", ["-e", program, path], { stdio: ["ignore", "pipe", "inherit"] });
  const [word] = await Promise.race([once(child.stdout!, "data"), once(child, "exit")]);
  expect(String(word)).toBe("held\n");
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

describe("a lock that somebody else holds", () => {
  test("makes changes wait, with a warning that names it and the holder; reads go on", async () => {
    const path = join(peers.root, "overlay-images/images.lock");
    const holder = await holdRecordLock(path);
    try {
      // It does not even run.
      holder.kill("SIGSTOP");
      await expect(
        store.untagImage(["localhost/none:1"], { signal: AbortSignal.timeout(200) }),
      ).rejects.toMatchObject({ name: "TimeoutError" });
      const controller = new AbortController();
      const waiting = store.untagImage(["localhost/none:1"], { signal: controller.signal });
      waiting.catch(() => {});
      await vi.waitUntil(() => warnings.length > 0, { timeout: 10_000 });
      expect(warnings[0]).toMatchObject({ fields: { lock: path, holderPid: holder.pid } });
      expect(await store.listImages()).toHaveLength(1);
      controller.abort(new Error("no longer wanted"));
      await expect(waiting).rejects.toThrow("no longer wanted");
    } finally {
      await end(holder);
    }
    await store.untagImage(["localhost/none:1"]);
  });
});

describe("podman that runs all the time", () => {
  test("sees our changes at once, and we its", async () => {
    const socket = join(root.path, "podman.sock");
    const service = spawn(
      "podman",
      [
        ...["--root", peers.root, "--runroot", peers.runRoot, "--storage-driver", "overlay"],
        ...["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"],
        ...["system", "service", "--time", "0", `unix://${socket}`],
      ],
      { stdio: "ignore" },
    );
    const ask = async (method: string, path: string): Promise<string> => {
      const sent = request({ socketPath: socket, method, path: `/v4.0.0/libpod/${path}` });
      sent.end();
      const [response] = await once(sent, "response");
      return await text(response);
    };
    const names = async () =>
      (JSON.parse(await ask("GET", "images/json")) as { RepoTags: string[] }[])
        .flatMap(image => image.RepoTags)
        .sort();
    try {
      await vi.waitUntil(() => existsSync(socket), { timeout: 10_000 });
      expect(await names()).toEqual(["localhost/first:1"]);
      await storeImage(store, "localhost/second:1", [base, smallBlob(root.path, "second")]);
      expect(await names()).toEqual(["localhost/first:1", "localhost/second:1"]);
      await store.removeImage("localhost/second:1");
      expect(await names()).toEqual(["localhost/first:1"]);
      await ask("POST", "images/localhost%2Ffirst:1/tag?repo=localhost/theirs&tag=1");
      expect((await store.getImage("localhost/theirs:1")).names).toContain("localhost/first:1");
      await ask("DELETE", "images/localhost%2Ftheirs:1");
      expect(await store.findImage("localhost/theirs:1")).toBeUndefined();
    } finally {
      await end(service);
    }
  });
});

describe("records of others", () => {
  test("keep what we do not know when we write the file", async () => {
    const path = join(peers.root, "overlay-images/images.json");
    const rows = JSON.parse(readFileSync(path, "utf8"));
    rows[0]["x-of-the-future"] = { nested: [1, "<&>"] };
    writeFileSync(path, JSON.stringify(rows));
    await storeImage(store, "localhost/more:1", [base, smallBlob(root.path, "more")]);
    expect(readFileSync(path, "utf8")).toContain('"x-of-the-future":{"nested":[1,"\\u003c\\u0026\\u003e"]}');
    await store.removeImage("localhost/more:1");
  });

  test("an incomplete layer never counts as there, and the next writer clears it away", async () => {
    const blob = smallBlob(root.path, "half");
    const id = blob.diffId.slice("sha256:".length);
    const path = join(peers.root, "overlay-layers/layers.json");
    const rows = JSON.parse(readFileSync(path, "utf8"));
    mkdirSync(join(peers.root, "overlay", id, "diff"), { recursive: true });
    writeFileSync(path, JSON.stringify([...rows, { id, flags: { incomplete: true } }]));
    expect(await store.findLayer([blob.diffId])).toBeUndefined();
    await storeImage(store, "localhost/half:1", [blob]);
    expect(readFileSync(join(peers.root, "overlay", id, "diff/data/half"), "utf8")).toBe("half".repeat(100));
    await store.removeImage("localhost/half:1");
  });

  test("of two images with one name the later keeps it, once somebody writes", async () => {
    const path = join(peers.root, "overlay-images/images.json");
    const [first] = JSON.parse(readFileSync(path, "utf8"));
    const twin = { id: "b".repeat(64), names: first.names, created: first.created };
    writeFileSync(path, JSON.stringify([first, twin]));
    await store.untagImage(["localhost/none:1"]);
    expect((await store.getImage(first.id)).names).toEqual([]);
    expect((await store.getImage("localhost/first:1")).id).toBe(twin.id);
    writeFileSync(path, JSON.stringify([first]));
  });

  test("ids with path characters are refused before anything is touched", async () => {
    const path = join(peers.root, "overlay-layers/layers.json");
    const good = readFileSync(path, "utf8");
    writeFileSync(path, JSON.stringify([{ id: "../../../tmp/x", flags: { incomplete: true } }]));
    await expect(store.recover()).rejects.toMatchObject({
      code: "DATA_LOSS",
      message: expect.stringContaining("layers.json"),
    });
    writeFileSync(path, good);
    await store.recover();
  });
});

test("an image of skopeo's that shares our layers outlives ours", async () => {
  const top = smallBlob(root.path, "shared-top");
  await storeImage(store, "localhost/ours:1", [base, top]);
  const source = writeDirImage(join(root.path, "dir"), [base, smallBlob(root.path, "their-top")]);
  peers.skopeo("copy", `dir:${source}`, peers.storageName("localhost/skopeos:1"));
  const { removedLayers } = await store.removeImage("localhost/ours:1");
  expect(removedLayers).toHaveLength(1);
  expect(JSON.parse(peers.skopeo("inspect", peers.storageName("localhost/skopeos:1"))).Layers).toHaveLength(
    2,
  );
  peers.podman("rmi", "localhost/skopeos:1");
  expect((await store.listImages()).flatMap(image => image.names)).toEqual(["localhost/first:1"]);
});
