import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { loadStorageConf } from "./storage-conf.ts";

const directory = mkdtempSync(join(tmpdir(), "conf-"));
const file = join(directory, "storage.conf");

function load(text: string, env: Record<string, string> = {}) {
  writeFileSync(file, text);
  return loadStorageConf({ CONTAINERS_STORAGE_CONF: file, ...env });
}

afterEach(() => rmSync(file, { force: true }));

describe("storage.conf", () => {
  test("says where the store is and how it is mounted", () => {
    const conf = load(
      `[storage]
driver = "overlay"
graphroot = "/g/$NAME"
runroot = "/r"
imagestore = "/images/$NAME"
[storage.options]
additionalimagestores = ["/a", "/b"]
mountopt = "ro"
[storage.options.overlay]
mountopt = "nodev,metacopy=on"
`,
      { NAME: "x" },
    );
    expect(conf).toEqual({
      root: "/g/x",
      runRoot: "/r",
      imageStore: "/images/x",
      mountOptions: ["nodev", "metacopy=on"],
      additionalStores: ["/a", "/b"],
      file,
    });
  });

  test("gives way to STORAGE_OPTS as a whole", () => {
    const conf = load('[storage.options]\nadditionalimagestores = ["/a"]\n', {
      STORAGE_OPTS: "overlay.mountopt=metacopy=on,additionalimagestores=/c,additionalimagestores=/d",
    });
    expect(conf).toMatchObject({ mountOptions: ["metacopy=on"], additionalStores: ["/c", "/d"] });
  });

  test("the driver's option imagestore is a further store to read, not where images go", () => {
    const conf = load('[storage]\nimagestore = "/images"', {
      STORAGE_OPTS: "overlay.imagestore=/a,overlay.imagestore=/b",
    });
    expect(conf).toMatchObject({ imageStore: "/images", additionalStores: ["/a", "/b"] });
  });

  test.each([
    ['[storage]\ndriver = "vfs"', {}, /driver vfs/],
    ['[storage]\ndriver = "overlay"', { STORAGE_DRIVER: "btrfs" }, /driver btrfs/],
    ['[storage.options.overlay]\nmount_program = "/usr/bin/fuse-overlayfs"', {}, /mount_program/],
    ["", { STORAGE_OPTS: "overlay.force_mask=shared" }, /force_mask/],
    ['[storage.options.overlay]\nsize = "10G"', {}, /size/],
  ])("refuses %j %j", (text, env, message) => {
    expect(() => load(text, env as Record<string, string>)).toThrow(
      expect.objectContaining({ code: "UNIMPLEMENTED", message: expect.stringMatching(message) }),
    );
  });

  test.each([
    ["[storage", /storage\.conf/],
    ['[storage]\ngraphroot = "relative"', /graphroot.*relative/],
    ['[storage]\nimagestore = "relative"', /imagestore.*relative/],
    ['[storage]\ngraphroot = "/same"\nimagestore = "/same"', /imagestore.*another.*\/same/],
  ])("names the mistake in %j", (text, message) => {
    expect(() => load(text)).toThrow(message);
  });

  test("a file that is named must be there", () => {
    expect(() => loadStorageConf({ CONTAINERS_STORAGE_CONF: join(directory, "none") })).toThrow(/none/);
  });
});
