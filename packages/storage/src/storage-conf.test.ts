import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { loadStorageConf } from "./storage-conf.ts";

const directory = mkdtempSync(join(tmpdir(), "conf-"));
const file = join(directory, "storage.conf");

function load(text: string, env: Record<string, string> = {}) {
  writeFileSync(file, text);
  return loadStorageConf({ CONTAINERS_STORAGE_CONF: file, ...env });
}

afterEach(() => rmSync(file, { force: true }));
afterAll(() => rmSync(directory, { recursive: true }));

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
      quota: undefined,
      files: [file],
    });
  });

  test.each([
    ['[storage.options.overlay]\nsize = "10G"', { bytes: 10 * 1024 ** 3, inodes: 0 }],
    [
      '[storage.options]\nsize = "1m"\n[storage.options.overlay]\ninodes = "1000"',
      { bytes: 1024 ** 2, inodes: 1000 },
    ],
    ['[storage.options.overlay]\nsize = "0"\ninodes = ""', undefined],
  ])("limits containers by %j", (text, quota) => {
    expect(load(text).quota).toEqual(quota);
  });

  test("limits containers by STORAGE_OPTS", () => {
    expect(load("", { STORAGE_OPTS: "overlay.size=2g,overlay.inodes=7" }).quota).toEqual({
      bytes: 2 * 1024 ** 3,
      inodes: 7,
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
    ['[storage.options.overlay]\nsize = "ten"', /size.*ten/],
    ['[storage.options.overlay]\ninodes = "1k"', /inodes.*1k/],
  ])("names the mistake in %j", (text, message) => {
    expect(() => load(text)).toThrow(message);
  });

  test("a file that is named must be there", () => {
    expect(() => loadStorageConf({ CONTAINERS_STORAGE_CONF: join(directory, "none") })).toThrow(/none/);
  });
});

describe("files upon each other", () => {
  const places = { vendor: join(directory, "share"), administrator: join(directory, "etc") };
  const user = join(directory, "home/containers");
  const write = (path: string, text: string) => {
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, text);
    return path;
  };
  const environment = { XDG_CONFIG_HOME: join(directory, "home") };
  const read = (env: Record<string, string> = {}) => loadStorageConf({ ...environment, ...env }, places);
  const roots = (name: string) => `[storage]\ngraphroot = "/${name}/root"\nrunroot = "/${name}/run"\n`;

  afterEach(() => {
    for (const path of [places.vendor, places.administrator, user])
      rmSync(path, { recursive: true, force: true });
  });

  test("of the main files the user's, else the administrator's, else the distribution's is read alone", () => {
    write(join(places.vendor, "storage.conf"), roots("vendor"));
    expect(read().root).toBe("/vendor/root");
    const main = write(join(places.administrator, "storage.conf"), '[storage]\nrunroot = "/etc/run"\n');
    expect(read()).toMatchObject({ root: "/var/lib/containers/storage", runRoot: "/etc/run", files: [main] });
    write(join(user, "storage.conf"), roots("user"));
    expect(read().root).toBe("/user/root");
  });

  test("drop-ins of all places follow by name; of the same name the last place's counts", () => {
    const main = write(join(places.administrator, "storage.conf"), roots("main"));
    const late = write(join(places.vendor, "storage.conf.d/90-late.conf"), '[storage]\nrunroot = "/late"\n');
    write(join(places.vendor, "storage.conf.d/50-same.conf"), '[storage]\nrunroot = "/hidden"\n');
    const early = write(join(user, "storage.conf.d/10-early.conf"), '[storage]\nrunroot = "/early"\n');
    const same = write(
      join(places.administrator, "storage.conf.d/50-same.conf"),
      '[storage.options.overlay]\nsize = "1k"\n',
    );
    write(join(places.administrator, "storage.conf.d/note.txt"), "not read");
    const rootful = join(places.administrator, "storage.rootful.conf.d/60.conf");
    const rootless = join(places.administrator, "storage.rootless.conf.d/60.conf");
    write(rootful, "[storage.options.overlay]\ninodes = 5\n");
    write(rootless, "[storage.options.overlay]\ninodes = 5\n");
    expect(read()).toMatchObject({
      root: "/main/root",
      runRoot: "/late",
      quota: { bytes: 1024, inodes: 5 },
      files: [main, early, same, process.getuid?.() === 0 ? rootful : rootless, late],
    });
  });

  test("a named file stands alone, and an override comes last", () => {
    write(join(places.administrator, "storage.conf.d/1.conf"), roots("drop-in"));
    const named = write(join(directory, "home/named.conf"), roots("named"));
    const override = write(join(directory, "home/override.conf"), '[storage]\nrunroot = "/override"\n');
    expect(read({ CONTAINERS_STORAGE_CONF: named }).root).toBe("/named/root");
    expect(
      read({ CONTAINERS_STORAGE_CONF: named, CONTAINERS_STORAGE_CONF_OVERRIDE: override }),
    ).toMatchObject({ root: "/named/root", runRoot: "/override" });
    expect(read({ CONTAINERS_STORAGE_CONF_OVERRIDE: override })).toMatchObject({
      root: "/drop-in/root",
      runRoot: "/override",
    });
    expect(() => read({ CONTAINERS_STORAGE_CONF_OVERRIDE: "/none.conf" })).toThrow(/none\.conf/);
  });

  test("lists are replaced, or added to when a file says append", () => {
    const drop = (name: string, list: string) =>
      write(
        join(places.administrator, `storage.conf.d/${name}.conf`),
        `[storage.options]\nadditionalimagestores = ${list}\n`,
      );
    drop("1", '["/a"]');
    drop("2", '["/b"]');
    expect(read().additionalStores).toEqual(["/b"]);
    drop("3", '["/c", {append = true}]');
    expect(read().additionalStores).toEqual(["/b", "/c"]);
    drop("4", '["/d"]');
    expect(read().additionalStores).toEqual(["/b", "/c", "/d"]);
    drop("5", '["/e", {append = false}]');
    expect(read().additionalStores).toEqual(["/e"]);
  });

  test("a drop-in that cannot be read is named", () => {
    write(join(places.administrator, "storage.conf.d/1.conf"), "[storage");
    expect(() => read()).toThrow(/storage\.conf\.d\/1\.conf/);
  });
});
