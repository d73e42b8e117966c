import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  bindMount,
  errnoOf,
  idmappedMount,
  isMountPoint,
  launchNamespaceWorker,
  listMounts,
  makePrivate,
  mount,
  mountOverlay,
  removeNamespaces,
  statFilesystem,
  unmount,
  unmountInThread,
} from "@ocid/host";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mountByLinks } from "../src/overlay-links.ts";

const leaks = leakCheck();
const root = tempRoot("host-");
let count = 0;

/** A directory of the test's own on a tmpfs. */
function directory(...names: readonly string[]): string {
  const path = join(root.path, `d${count++}`, ...names);
  mkdirSync(path, { recursive: true });
  return path;
}

function failure(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

beforeAll(() => {
  mount({ source: "none", target: root.path, fstype: "tmpfs", flags: ["nosuid"], data: "mode=700,size=64m" });
  makePrivate(root.path);
});

afterAll(async () => {
  root.remove();
  await leaks.expectClean();
});

describe("mount", () => {
  test("a mount is listed with its options, under names with spaces and newlines too", () => {
    const target = directory("with space\tand\nmore\\");
    mount({ source: "none", target, fstype: "tmpfs", flags: ["nosuid", "noexec"], data: "size=1m" });
    expect(isMountPoint(target)).toBe(true);
    const entry = listMounts().find(mounted => mounted.target === target);
    expect(entry).toMatchObject({ fstype: "tmpfs", source: "none", root: "/" });
    expect(entry?.options.split(",")).toEqual(expect.arrayContaining(["nosuid", "noexec"]));
    expect(unmount(target)).toBe(true);
    expect(isMountPoint(target)).toBe(false);
    expect(unmount(target)).toBe(false);
    expect(unmount(join(target, "missing"))).toBe(false);
  });

  test("what is busy is only unmounted lazily", () => {
    const target = directory("busy");
    mount({ source: "none", target, fstype: "tmpfs" });
    mount({ source: "none", target: directoryIn(target, "below"), fstype: "tmpfs" });
    const error = failure(() => unmount(target));
    expect(error).toMatchObject({ code: "FAILED_PRECONDITION", message: `umount2 ${target}: EBUSY` });
    expect(errnoOf(error)).toBe("EBUSY");
    expect(unmount(target, { lazy: true })).toBe(true);
    expect(listMounts().some(entry => entry.target.startsWith(target))).toBe(false);
  });

  test("in a thread too, several at once, with the kernel's answer where it fails", async () => {
    const targets = Array.from({ length: 6 }, (_, at) => directory(`thread-${at}`));
    for (const target of targets) mount({ source: "none", target, fstype: "tmpfs" });
    const busy = directory("thread-busy");
    mount({ source: "none", target: busy, fstype: "tmpfs" });
    mount({ source: "none", target: directoryIn(busy, "below"), fstype: "tmpfs" });
    const all = [...targets, ...targets].map(target => unmountInThread(target));
    await expect(unmountInThread(busy)).rejects.toMatchObject({ message: `umount2 ${busy}: EBUSY` });
    expect(await Promise.all(all)).toEqual([...targets.map(() => true), ...targets.map(() => false)]);
    expect(await unmountInThread(busy, { lazy: true })).toBe(true);
  });

  test("never unmounts through a symlink", () => {
    const target = directory("real");
    const link = join(directory(), "link");
    symlinkSync(target, link);
    mount({ source: "none", target, fstype: "tmpfs" });
    expect(unmount(link)).toBe(false);
    expect(isMountPoint(target)).toBe(true);
    unmount(target);
  });

  test("a failure names call, target and errno", () => {
    const error = failure(() => mount({ source: "none", target: "/nonexistent/x", fstype: "tmpfs" }));
    expect(error).toMatchObject({ code: "NOT_FOUND", message: "mount none on /nonexistent/x: ENOENT" });
    expect(failure(() => mount({ target: "/a\0b", fstype: "tmpfs" }))).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("bind mounts", () => {
  test("read-only holds for what is mounted below, keeps other flags and leaves the source writable", () => {
    const source = directory("source");
    mount({ source: "none", target: directoryIn(source, "below"), fstype: "tmpfs", flags: ["noexec"] });
    const target = directory("target");
    bindMount(source, target, { recursive: true, readOnly: true });
    for (const place of [target, join(target, "below")])
      expect(errnoOf(failure(() => writeFileSync(join(place, "x"), "")))).toBe("EROFS");
    writeFileSync(join(source, "below/x"), "");
    const options = (path: string) =>
      listMounts()
        .find(entry => entry.target === path)!
        .options.split(",");
    expect(options(target)).toEqual(expect.arrayContaining(["ro", "nosuid"]));
    expect(options(join(target, "below"))).toEqual(expect.arrayContaining(["ro", "noexec"]));
    unmount(target, { lazy: true });
    unmount(source, { lazy: true });
  });

  test("without recursive nothing mounted below comes along", () => {
    const source = directory("flat");
    mount({ source: "none", target: directoryIn(source, "below"), fstype: "tmpfs" });
    writeFileSync(join(source, "below/x"), "");
    const target = directory("flat-target");
    bindMount(source, target);
    expect(readdirSync(join(target, "below"))).toEqual([]);
    unmount(target);
    unmount(join(source, "below"));
  });
});

describe("overlay", () => {
  const layer = (name: string, files: Readonly<Record<string, string>>): string => {
    const path = directory(name);
    for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
    return path;
  };

  test("the uppermost lower wins, and writes go to the upper layer", () => {
    const lowers = [layer("one", { a: "1" }), layer("two", { a: "2", b: "2" })];
    const [upper, work, target] = [directory("upper"), directory("work"), directory("merged")];
    mountOverlay({ lowers, upper, work, target, volatile: true });
    expect(readFileSync(join(target, "a"), "utf8")).toBe("1");
    writeFileSync(join(target, "c"), "3");
    unmount(target);
    expect(readdirSync(upper)).toEqual(["c"]);
  });

  test("500 layers with long paths", () => {
    const long = directory("x".repeat(120));
    const lowers = Array.from({ length: 500 }, (_, index) => {
      const path = directoryIn(long, `layer-${index}`);
      writeFileSync(join(path, `f${index}`), "");
      return path;
    });
    const [upper, work, target] = [directory("upper"), directory("work"), directory("merged")];
    mountOverlay({ lowers, upper, work, target, options: ["metacopy=off"] });
    expect(readdirSync(target)).toHaveLength(500);
    unmount(target);
    expect(failure(() => mountOverlay({ lowers: [...lowers, ...lowers], target }))).toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringMatching(/refuses 1000 layers: .*(lower|500)/),
    });
    expect(isMountPoint(target)).toBe(false);
  });

  test.each(["with,comma", "with:colon", "with\\backslash", "a\\,b:c"])("names such as %j", name => {
    const lowers = [layer(`${name}1`, { low: "" }), layer(`${name}2`, { lower: "" })];
    const [upper, work, target] = [directory(`${name}u`), directory(`${name}w`), directory(`${name}t`)];
    mountOverlay({ lowers, upper, work, target });
    writeFileSync(join(target, "new"), "");
    expect(readdirSync(target)).toEqual(["low", "lower", "new"]);
    unmount(target);
    expect(readdirSync(upper)).toEqual(["new"]);
  });

  test("200 layers with long and odd names through links, as kernels before 6.5 need", () => {
    const long = directory(`${"y".repeat(120)},:\\`);
    const lowers = Array.from({ length: 200 }, (_, index) => {
      const path = directoryIn(long, `layer-${index}`);
      writeFileSync(join(path, `f${index}`), "");
      return path;
    });
    const [upper, work, target] = [directory("u,"), directory("w:"), directory("merged")];
    const links = () => readdirSync("/run").filter(name => name.startsWith("o-"));
    const before = links();
    mountByLinks({ lowers, upper, work, target }, ["metacopy=off"]);
    expect(readdirSync(target)).toHaveLength(200);
    writeFileSync(join(target, "new"), "");
    expect(readdirSync(upper)).toEqual(["new"]);
    unmount(target);
    expect(failure(() => mountByLinks({ lowers: [...lowers, ...lowers], target }, []))).toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("400 layers are more than this kernel takes"),
    });
    expect(links()).toEqual(before);
  });

  test("a wrong option is named in the kernel's words", () => {
    const lowers = [layer("with,comma", {}), layer("plain", {})];
    const target = directory("merged");
    expect(failure(() => mountOverlay({ lowers, target, options: ["no_such=1"] }))).toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("no_such"),
    });
    expect(isMountPoint(target)).toBe(false);
  });

  test("read-only is read-only, though there is an upper layer", () => {
    const lowers = [layer("only", { a: "" })];
    const [upper, work, target] = [directory("upper"), directory("work"), directory("merged")];
    mountOverlay({ lowers, upper, work, target, readOnly: true });
    expect(errnoOf(failure(() => writeFileSync(join(target, "b"), "")))).toBe("EROFS");
    unmount(target);
    expect(failure(() => mountOverlay({ lowers, upper, target }))).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

test("an id-mapped mount shows the owners of a user namespace", async () => {
  await using worker = launchNamespaceWorker();
  const pins = mkdtempSync(join(root.path, "ns-"));
  const mapping = [{ containerID: 0, hostID: 300_000, size: 65_536 }];
  const { user } = await worker.create({
    directory: pins,
    net: false,
    ipc: false,
    uts: false,
    sysctls: {},
    userMappings: { uids: mapping, gids: mapping },
  });
  const [source, target] = [directory("source"), directory("target")];
  writeFileSync(join(source, "file"), "");
  idmappedMount({ source, target, userNamespace: user! });
  expect(statSync(join(target, "file")).uid).toBe(300_000);
  expect(statSync(join(source, "file")).uid).toBe(0);
  unmount(target);
  removeNamespaces(pins);
});

test("the state of a file system is what stat(1) says", () => {
  const state = statFilesystem(root.path);
  const said = execFileSync("stat", ["-f", "-c", "%t %S %b %f %c", root.path], { encoding: "utf8" }).trim();
  expect(
    [state.type.toString(16), state.blockSize, state.blocks, state.blocksFree, state.inodes].join(" "),
  ).toBe(said);
});

function directoryIn(parent: string, name: string): string {
  const path = join(parent, name);
  mkdirSync(path);
  return path;
}
