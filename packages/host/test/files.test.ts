import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import {
  beginWriting,
  deviceNumbers,
  errnoOf,
  getXattr,
  listXattrs,
  makeNode,
  mount,
  openBeneath,
  openInRoot,
  removeXattr,
  setTimes,
  setTimesFd,
  setXattr,
  syncFilesystem,
} from "@ocid/host";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const leaks = leakCheck();
const root = tempRoot("host-");
const at = (name: string) => join(root.path, name);
const file = (name: string): string => {
  writeFileSync(at(name), name);
  return at(name);
};
const failure = (work: () => unknown): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return errnoOf(error);
  }
};

beforeAll(() => mount({ source: "none", target: root.path, fstype: "tmpfs", data: "size=16m" }));
afterAll(async () => {
  root.remove();
  await leaks.expectClean();
});

describe("extended attributes", () => {
  test("of paths and descriptors, large and empty", () => {
    const path = file("xattrs");
    const fd = openSync(path, "r");
    const values = { "trusted.empty": 0, "trusted.small": 7, "trusted.large": 60_000 } as const;
    for (const [name, size] of Object.entries(values)) {
      const value = Buffer.alloc(size, "x");
      setXattr(size === 7 ? fd : path, name, value);
      expect(getXattr(path, name)).toEqual(value);
      expect(getXattr(fd, name)).toEqual(value);
    }
    expect([...listXattrs(path)].sort()).toEqual(Object.keys(values).sort());
    expect([...listXattrs(fd)].sort()).toEqual(Object.keys(values).sort());
    removeXattr(path, "trusted.small");
    removeXattr(fd, "trusted.large");
    expect(listXattrs(path)).toEqual(["trusted.empty"]);
    expect(getXattr(path, "trusted.none")).toBeUndefined();
    closeSync(fd);
  });

  test("of a symlink itself", () => {
    const path = file("xattr-target");
    symlinkSync(path, at("xattr-link"));
    setXattr(at("xattr-link"), "trusted.where", Buffer.from("link"));
    expect(getXattr(at("xattr-link"), "trusted.where")?.toString()).toBe("link");
    expect(getXattr(path, "trusted.where")).toBeUndefined();
  });

  test("a capability is one that the kernel knows", () => {
    const path = file("capable");
    chmodSync(path, 0o755);
    // VFS_CAP_REVISION_2 with the effective bit and CAP_NET_BIND_SERVICE permitted.
    const value = Buffer.from("0100000200040000000000000000000000000000", "hex");
    setXattr(path, "security.capability", value);
    expect(getXattr(path, "security.capability")).toEqual(value);
    expect(failure(() => setXattr(path, "security.capability", Buffer.from("nonsense")))).toBe("EINVAL");
  });

  test("a name that is not UTF-8", () => {
    const path = Buffer.concat([Buffer.from(`${root.path}/`), Buffer.from([0xff, 0xfe])]);
    writeFileSync(path, "");
    setXattr(path, "trusted.a", Buffer.from("1"));
    expect(listXattrs(path)).toEqual(["trusted.a"]);
  });
});

describe("nodes and times", () => {
  test("devices with large numbers, whiteouts, fifos", () => {
    makeNode(at("device"), constants.S_IFBLK | 0o600, 259, 70_000);
    makeNode(at("whiteout"), constants.S_IFCHR, 0, 0);
    makeNode(at("fifo"), constants.S_IFIFO | 0o640);
    expect(lstatSync(at("device")).isBlockDevice()).toBe(true);
    expect(deviceNumbers(lstatSync(at("device"), { bigint: true }).rdev)).toEqual({
      major: 259,
      minor: 70_000,
    });
    expect(execFileSync("stat", ["-c", "%t %T", at("device")], { encoding: "utf8" }).trim()).toBe(
      "103 11170",
    );
    expect(lstatSync(at("whiteout"))).toMatchObject({ rdev: 0 });
    expect(lstatSync(at("fifo")).isFIFO()).toBe(true);
    expect(failure(() => makeNode(at("fifo"), constants.S_IFIFO))).toBe("EEXIST");
  });

  test.each([
    [1_700_000_000_123_456_789n, 1_600_000_000_987_654_321n],
    [0n, -1_500_000_001n],
    [-1n, 32_503_680_000_000_000_001n],
  ])("nanoseconds %d and %d, of a symlink and a descriptor", (accessNs, modificationNs) => {
    const path = file("times");
    symlinkSync("times", at(`link${accessNs}`));
    setTimes(at(`link${accessNs}`), accessNs, modificationNs);
    const fd = openSync(path, "r");
    setTimesFd(fd, accessNs, modificationNs);
    for (const status of [
      lstatSync(at(`link${accessNs}`), { bigint: true }),
      fstatSync(fd, { bigint: true }),
    ]) {
      expect(status.atimeNs).toBe(accessNs);
      expect(status.mtimeNs).toBe(modificationNs);
    }
    closeSync(fd);
  });
});

describe("paths below a root", () => {
  const shownPath = (fd: number): string => {
    const path = readlinkSync(`/proc/self/fd/${fd}`);
    closeSync(fd);
    return path;
  };
  let rootFd: number;
  beforeAll(() => {
    mkdirSync(at("root/etc"), { recursive: true });
    writeFileSync(at("root/etc/passwd"), "inside");
    symlinkSync("/etc/passwd", at("root/absolute"));
    symlinkSync("../../../../../../etc/passwd", at("root/climbing"));
    symlinkSync("loop", at("root/loop"));
    rootFd = openSync(at("root"), constants.O_RDONLY | constants.O_DIRECTORY);
  });
  afterAll(() => closeSync(rootFd));

  test.each(["etc/passwd", "absolute", "climbing", "/etc/passwd", "../../etc/passwd"])(
    "openInRoot takes %s for the file inside",
    path => {
      expect(shownPath(openInRoot(rootFd, path, constants.O_RDONLY))).toBe(at("root/etc/passwd"));
    },
  );

  test("openInRoot creates inside, with the mode it is given", () => {
    const fd = openInRoot(rootFd, "../new", constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    expect(fstatSync(fd).mode & 0o777).toBe(0o600);
    expect(shownPath(fd)).toBe(at("root/new"));
    expect(failure(() => openInRoot(rootFd, "loop", constants.O_RDONLY))).toBe("ELOOP");
  });

  test.each([
    ["absolute", "ELOOP"],
    ["climbing", "ELOOP"],
    ["../outside", "EXDEV"],
    ["/etc/passwd", "EXDEV"],
    ["missing", "ENOENT"],
  ])("openBeneath refuses %s with %s", (path, errno) => {
    expect(failure(() => openBeneath(rootFd, path, constants.O_RDONLY))).toBe(errno);
    expect(shownPath(openBeneath(rootFd, "etc/passwd", constants.O_RDONLY))).toBe(at("root/etc/passwd"));
  });
});

describe("syncFilesystem", () => {
  test("many at once, by path and descriptor, leave libuv's threads to others", async () => {
    const fd = openSync(root.path, "r");
    const syncs = Array.from({ length: 16 }, (_, index) => syncFilesystem(index % 2 === 0 ? root.path : fd));
    await Promise.all([...syncs, stat(root.path)]);
    closeSync(fd);
  });

  test("a failure keeps its code, and an aborted wait the signal's reason", async () => {
    await expect(syncFilesystem(at("missing"))).rejects.toMatchObject({
      code: "NOT_FOUND",
      reason: "ENOENT",
    });
    const reason = new Error("enough");
    await expect(syncFilesystem(root.path, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test("is made by the caller's thread where one is given, once for all that wait, and fails as it does", async () => {
    const asked: (string | number)[] = [];
    const call = async (where: string | number) => void asked.push(where);
    await Promise.all([1, 2, 3].map(() => syncFilesystem(at("shared"), { call })));
    expect(asked).toEqual([at("shared")]);
    const failing = async () => Promise.reject(new Error("no disk"));
    await expect(syncFilesystem(at("shared"), { call: failing })).rejects.toThrow("no disk");
  });
});

test("what begins to be written is as it was, and where that fails nothing else does", () => {
  const fd = openSync(file("early"), "r+");
  beginWriting(fd, 0, 0);
  beginWriting(fd, 2, 1);
  closeSync(fd);
  beginWriting(fd, 0, 0);
  expect(readFileSync(at("early"), "utf8")).toBe("early");
});
