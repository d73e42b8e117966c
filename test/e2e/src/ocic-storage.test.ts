import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { copyImage, createRegistryDestination, importImage } from "@ocid/image-copy";
import { createRegistryClient } from "@ocid/registry";
import { parseReference } from "@ocid/spec";
import { type DockerRegistry, leakCheck, startDockerRegistry, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

// The commands that look after the store, as a user types them, against a store and a registry of their own.

const ocic = join(import.meta.dirname, "../../../apps/ocic/dist/ocic");
const leaks = leakCheck();
const root = tempRoot("ocic-storage-");
const work = join(root.path, "work");
const R = join(work, "r");
let registry: DockerRegistry;
let image: string;

beforeAll(async () => {
  mkdirSync(join(root.path, "registry"));
  registry = await startDockerRegistry({ directory: join(root.path, "registry") });
  image = `${registry.host}/test/tree:1`;
  const tree = join(root.path, "tree");
  mkdirSync(join(tree, "srv"), { recursive: true });
  writeFileSync(join(tree, "srv/file"), "content");
  await using client = createRegistryClient({ tlsVerify: false });
  await using source = await importImage(tree, { created: "2026-01-01T00:00:00Z" });
  await copyImage(source, createRegistryDestination(client, parseReference(image)));
});

beforeEach(() => {
  rmSync(work, { recursive: true, force: true });
  run("pull", image);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  root.remove();
  await leaks.expectClean();
});

function start(...args: string[]) {
  const places = ["--root", R, "--runroot", join(work, "rr"), "--tls-verify", "false"];
  return spawnSync(ocic, [...places, ...args], { encoding: "utf8", cwd: root.path });
}

function run(...args: string[]): string {
  const { status, stdout, stderr } = start(...args);
  if (status !== 0) throw new Error(`ocic ${args.join(" ")} ended with ${status}: ${stderr}${stdout}`);
  return stdout;
}

const layerId = () => JSON.parse(readFileSync(join(R, "overlay-layers/layers.json"), "utf8"))[0].id as string;
const imageId = () => JSON.parse(readFileSync(join(R, "overlay-images/images.json"), "utf8"))[0].id as string;

describe("repair", () => {
  test.each([
    ["a changed file", () => writeFileSync(join(R, "overlay", layerId(), "diff/srv/file"), "changed")],
    ["a lost directory", () => rmSync(join(R, "overlay", layerId()), { recursive: true })],
    ["a lost tar-split", () => rmSync(join(R, `overlay-layers/${layerId()}.tar-split.gz`))],
    ["a lost manifest", () => rmSync(join(R, "overlay-images", imageId(), "manifest"))],
    ["lost records of layers", () => writeFileSync(join(R, "overlay-layers/layers.json"), "[]")],
    [
      "a lost config",
      () => {
        const directory = join(R, "overlay-images", imageId());
        for (const name of readdirSync(directory).filter(other => other.startsWith("=")))
          if (readFileSync(join(directory, name), "utf8").includes("rootfs")) rmSync(join(directory, name));
      },
    ],
  ])("fetches what is needed after %s", (_, damage) => {
    damage();
    expect(start("storage", "check", "--deep").status).toBe(9);
    const output = run("storage", "repair", "--deep");
    expect(output.match(/^fetched sha256:/gm)).toHaveLength(1);
    expect(run("storage", "check", "--deep", "--json").trim()).toBe("[]");
    const path = run("mount", image).trim();
    expect(readFileSync(join(path, "srv/file"), "utf8")).toBe("content");
    run("umount", image);
  });

  /** An image of that name whose one file has changed on the disk. */
  function damaged(name: string): string {
    run("rmi", image);
    run("import", join(root.path, "tree"), `containers-storage:${name}`);
    const file = join(R, "overlay", layerId(), "diff/srv/file");
    writeFileSync(file, "changed");
    return file;
  }

  test("leaves what its registry could not be asked for where it is, unless told otherwise", () => {
    const name = "localhost:1/elsewhere:1";
    const file = damaged(name);
    for (const flags of [[], ["--no-quarantine"]]) {
      const left = start("storage", "repair", "--deep", ...flags);
      expect(left.status).toBe(9);
      expect(left.stderr).toContain(`${name} stays damaged`);
      if (flags.length === 0) expect(left.stderr).toContain("--quarantine");
      expect(left.stdout).toContain("layer-content-changed");
      expect(readFileSync(file, "utf8")).toBe("changed");
    }
    expect(run("storage", "repair", "--deep", "--quarantine")).toContain(`quarantined ${name} as `);
    expect(start("mount", name).status).not.toBe(0);
  });

  test("moves what the registry no longer has to quarantine, and back", () => {
    const name = `${registry.host}/test/gone:1`;
    const file = damaged(name);
    expect(start("storage", "repair", "--deep", "--no-quarantine").status).toBe(9);
    expect(readFileSync(file, "utf8")).toBe("changed");
    const output = run("storage", "repair", "--deep");
    const id = /quarantined \S+\/test\/gone:1 as ([0-9a-f]+)/.exec(output)![1]!;
    expect(start("mount", name).status).not.toBe(0);
    expect(JSON.parse(run("storage", "quarantine", "--json"))).toMatchObject([{ id, names: [name] }]);
    run("storage", "quarantine", "--restore", id);
    expect(readFileSync(file, "utf8")).toBe("changed");
    expect(JSON.parse(run("storage", "quarantine", "--json"))).toEqual([]);
  });

  test("leaves a damaged image that a container uses where it is", () => {
    run("rmi", image);
    run("import", join(root.path, "tree"), "containers-storage:localhost:1/elsewhere:1");
    const copy = join(work, "copy");
    run("mount", "--rw", "--name", "uses", "localhost:1/elsewhere:1", copy);
    writeFileSync(join(copy, "precious"), "precious");
    rmSync(join(R, "overlay-images", imageId(), "manifest"));
    const { status, stderr } = start("storage", "repair", "--quarantine");
    expect(status).toBe(9);
    expect(stderr).toContain("uses");
    expect(readFileSync(join(copy, "precious"), "utf8")).toBe("precious");
    run("umount", "--rm", copy);
  });
});

test("an image is mounted at a directory, and a copy of it changed and made an image of", () => {
  const directory = join(work, "here");
  expect(run("mount", image, directory).trim()).toBe(directory);
  expect(readFileSync(join(directory, "srv/file"), "utf8")).toBe("content");
  expect(() => writeFileSync(join(directory, "srv/file"), "x")).toThrow(/EROFS/);
  expect(JSON.parse(run("mount", "--json"))).toMatchObject([{ kind: "image", name: image }]);
  run("umount", directory);
  expect(readdirSync(directory)).toEqual([]);
  expect(start("umount", image).status).toBe(7);

  const copy = join(work, "copy");
  run("mount", "--rw", "--name", "mine", image, copy);
  writeFileSync(join(copy, "srv/file"), "changed");
  writeFileSync(join(copy, "srv/more"), "more");
  expect(run("changes", "mine")).toBe("C /srv/file\nA /srv/more\n");
  run("commit", "--timestamp", "0", "mine", "localhost/committed:1");
  run("umount", "--rm", copy);
  expect(existsSync(join(R, "overlay-containers/containers.json"))).toBe(true);
  expect(readFileSync(join(R, "overlay-containers/containers.json"), "utf8")).toBe("[]");
  const path = run("mount", "localhost/committed:1").trim();
  expect(readFileSync(join(path, "srv/file"), "utf8")).toBe("changed");
  run("umount", "localhost/committed:1");
  expect(start("umount", "--rm", image).status).not.toBe(0);
  expect(readFileSync("/proc/mounts", "utf8")).not.toContain(work);
});
