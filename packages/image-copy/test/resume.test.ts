import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { makeLargeLayer, startTestRegistry, type TestRegistry } from "@ocid/registry/testing";
import { digestHex, mediaTypes } from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findPartialBlobs } from "../src/index.ts";

// A copy is killed in the middle of a layer; the next one fetches what is missing and no more.

const layer = makeLargeLayer(500_000_000);
const root = tempRoot("ocid-resume-");
let registry: TestRegistry;

beforeAll(async () => {
  registry = await startTestRegistry();
  const config = Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      rootfs: { type: "layers", diff_ids: [layer.digest] },
    }),
  );
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { ...registry.addBlob("test/image", config), mediaType: mediaTypes.ociConfig },
    layers: [{ ...registry.addBlob("test/image", layer), mediaType: mediaTypes.ociLayer }],
  };
  registry.addManifest("test/image", Buffer.from(JSON.stringify(manifest)), mediaTypes.ociManifest, "v1");
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  root.remove();
});

const layerPath = new RegExp(`blobs/${layer.digest}`);
const sentBytes = () =>
  registry.requests.filter(({ url }) => layerPath.test(url)).reduce((sum, { sent }) => sum + sent, 0);

function startCopy(to: string): ChildProcess {
  const program = fileURLToPath(new URL("./copy-program.ts", import.meta.url));
  return spawn(
    process.execPath,
    ["--conditions=@ocid/source", program, `docker://${registry.host}/test/image:v1`, to],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
}

describe.each(["oci", "dir"])("a copy to %s: that is killed", transport => {
  it("is resumed to the last byte", async () => {
    const directory = join(root.path, transport);
    const blobs = transport === "oci" ? join(directory, "blobs/sha256") : directory;
    const name = digestHex(layer.digest);
    // Everything falls silent in the middle, whether it comes over one connection that is fast or in ranges over some.
    registry.fail({ path: layerPath, after: 1, times: 1, fault: { kind: "hang", afterBytes: 200_000_000 } });
    registry.fail({ path: layerPath, after: 25, fault: { kind: "hang", afterBytes: 1_000_000 } });
    const killed = startCopy(`${transport}:${directory}`);
    const kept = async () => (await findPartialBlobs(blobs, name).catch(() => []))[0]?.size ?? 0;
    while ((await kept()) < 180_000_000) {
      expect(killed.exitCode).toBeNull();
      await sleep(20);
    }
    killed.kill("SIGKILL");
    await once(killed, "exit");
    const size = await kept();
    expect(readdirSync(blobs)).not.toContain(name);

    registry.heal();
    registry.requests.length = 0;
    const [code] = await once(startCopy(`${transport}:${directory}`), "exit");
    expect(code).toBe(0);
    expect(sentBytes()).toBe(layer.size - size);
    expect(statSync(join(blobs, name)).size).toBe(layer.size);
    expect(await findPartialBlobs(blobs)).toEqual([]);
  });
});
