import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RuntimeSpec } from "@ocid/spec";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { applyCdi } from "./apply-cdi.ts";
import { CdiRegistry } from "./cdi-registry.ts";
import { parseCdiName, parseCdiSpec } from "./cdi-spec.ts";

const spec = (more: object = {}) => ({
  cdiVersion: "0.6.0",
  kind: "vendor.test/gpu",
  devices: [{ name: "one", containerEdits: { env: ["A=1"] } }],
  ...more,
});

describe("a specification", () => {
  test.each([
    [{ cdiVersion: "9.0.0" }, /not supported/],
    [{ kind: "gpu" }, /not a kind/],
    [{ devices: [] }, /no devices/],
    [{ devices: [{ name: "a" }, { name: "a" }] }, /twice/],
    [{ devices: [{ name: "../a" }] }, /not the name/],
    [{ containerEdits: { netDevices: [] } }, /netDevices, which is not supported/],
    [{ containerEdits: { env: ["A"] } }, /name=value/],
    [{ containerEdits: { deviceNodes: [{ path: "null" }] } }, /absolute path/],
    [{ containerEdits: { deviceNodes: [{ path: "/dev/x", permissions: "x" }] } }, /permissions/],
    [{ containerEdits: { hooks: [{ hookName: "never", path: "/x" }] } }, /unknown hook/],
    [{ containerEdits: { intelRdt: { closID: "../x" } } }, /closID/],
    [{ containerEdits: { additionalGids: [-1] } }, /a group/],
  ])("with %o is refused", (more, why) => {
    expect(() => parseCdiSpec(spec(more))).toThrow(why);
  });

  test.each(["gpu=0", "vendor.test/gpu", "vendor.test/gpu=", "-v/c=d", "v/c=../d", "v/c d=1"])(
    "%j names no device",
    name => expect(() => parseCdiName(name)).toThrow(/not the name of a CDI device/),
  );
});

describe("the node's devices", () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), "cdi-"));
    for (const name of ["etc", "run"]) mkdirSync(join(root, name));
  });
  afterAll(() => rmSync(root, { recursive: true }));
  const write = (name: string, value: unknown) =>
    writeFileSync(join(root, name), typeof value === "string" ? value : JSON.stringify(value));

  test("are read again when files change, and the later directory wins", () => {
    const registry = new CdiRegistry([join(root, "etc"), join(root, "run"), join(root, "none")]);
    const env = () => registry.edits(["vendor.test/gpu=one"]).flatMap(edits => edits.env ?? []);
    expect(env).toThrow(/is not on this node/);
    write("etc/a.json", spec({ containerEdits: { env: ["ALL=1"] } }));
    expect(env()).toEqual(["ALL=1", "A=1"]);
    write(
      "run/b.yaml",
      "cdiVersion: 0.5.0\nkind: vendor.test/gpu\ndevices:\n- name: one\n  containerEdits: {env: [B=2]}\n",
    );
    expect(env()).toEqual(["B=2"]);
    write("run/c.json", spec());
    expect(env).toThrow(/several files: .*b\.yaml.*c\.json/);
    rmSync(join(root, "run/b.yaml"));
    expect(env()).toEqual(["A=1"]);
    write("run/broken.json", "{");
    expect(env()).toEqual(["A=1"]);
    expect(() => registry.edits(["vendor.test/gpu=two"])).toThrow(/broken\.json/);
  });

  test("bring a file's common edits once", () => {
    const registry = new CdiRegistry([join(root, "etc")]);
    write(
      "etc/a.json",
      spec({ containerEdits: { env: ["ALL=1"] }, devices: [{ name: "one" }, { name: "two" }] }),
    );
    const edits = registry.edits(["vendor.test/gpu=one", "vendor.test/gpu=two", "vendor.test/gpu=one"]);
    expect(edits.flatMap(one => one.env ?? [])).toEqual(["ALL=1"]);
  });
});

test("edits change the configuration, and replace what is of the same name", () => {
  const before: RuntimeSpec = {
    ociVersion: "1.0.2",
    process: { user: { uid: 7, gid: 8, additionalGids: [9] }, args: ["x"], env: ["A=0", "B=0"], cwd: "/" },
    root: { path: "/r" },
    mounts: [{ destination: "/m", source: "/old" }],
    linux: { namespaces: [], resources: { devices: [{ allow: false, access: "rwm" }] } },
  };
  const after = applyCdi(before, [
    {
      env: ["A=1"],
      deviceNodes: [{ path: "/dev/gpu", hostPath: "/dev/null", permissions: "rw" }],
      mounts: [{ hostPath: "/lib/new", containerPath: "/m" }],
      hooks: [{ hookName: "createContainer", path: "/bin/true" }],
      additionalGids: [9, 10],
      intelRdt: { closID: "gold" },
    },
  ]);
  expect(after.process).toMatchObject({ env: ["B=0", "A=1"], user: { additionalGids: [9, 10] } });
  expect(after.linux.devices).toEqual([
    expect.objectContaining({ path: "/dev/gpu", type: "c", major: 1, minor: 3, uid: 7, gid: 8 }),
  ]);
  expect(after.linux.resources?.devices?.at(-1)).toEqual({
    allow: true,
    type: "c",
    major: 1,
    minor: 3,
    access: "rw",
  });
  expect(after.mounts).toEqual([
    { destination: "/m", type: "bind", source: "/lib/new", options: ["rbind", "rprivate", "ro"] },
  ]);
  expect(after.hooks).toEqual({ createContainer: [{ path: "/bin/true" }] });
  expect(after.linux.intelRdt).toEqual({ closID: "gold" });
});
