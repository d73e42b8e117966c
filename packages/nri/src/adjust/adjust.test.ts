import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { RuntimeSpec } from "@ocid/spec";
import { describe, expect, test } from "vitest";
import { containerMessage } from "../describe.ts";
import { ContainerAdjustmentSchema, ContainerUpdateSchema, Field, IOPrioClass } from "../gen/nri_pb.js";
import { applyAdjustment } from "./apply.ts";
import { claimAdjustment } from "./claim.ts";
import { mergeAdjustments } from "./merge.ts";
import { Owners } from "./owners.ts";
import { WishList } from "./wishes.ts";

type Adjustment = MessageInitShape<typeof ContainerAdjustmentSchema>;

const plain: RuntimeSpec = {
  ociVersion: "1.0.2",
  process: {
    user: { uid: 7, gid: 8, additionalGids: [9] },
    args: ["sleep", "1"],
    env: ["PATH=/bin", "MODE=old"],
    cwd: "/",
    rlimits: [{ type: "RLIMIT_NOFILE", hard: 10, soft: 5 }],
  },
  root: { path: "/root" },
  mounts: [
    { destination: "/proc", type: "proc", source: "proc" },
    { destination: "/data/deep", type: "bind", source: "/a", options: ["rbind"] },
    { destination: "/data", type: "bind", source: "/b", options: ["rbind"] },
  ],
  annotations: { keep: "1", old: "2" },
  linux: {
    namespaces: [{ type: "mount" }, { type: "pid" }],
    devices: [{ path: "/dev/a", type: "c", major: 1, minor: 3 }],
    resources: { memory: { limit: 100, swap: 100 }, cpu: { shares: 2 } },
    sysctl: { "net.a": "1" },
  },
};

function apply(adjust: Adjustment, spec: RuntimeSpec = plain): RuntimeSpec {
  return applyAdjustment(spec, create(ContainerAdjustmentSchema, adjust), (before, names) => ({
    ...before,
    process: { ...before.process, env: [...before.process.env!, ...names.map(name => `CDI=${name}`)] },
  }));
}

describe("an adjustment", () => {
  test("that is empty changes nothing", () => {
    expect(apply({})).toEqual(plain);
    expect(apply({ linux: { resources: {} }, hooks: {} })).toEqual({ ...plain, hooks: {} });
  });

  test("sets, replaces and removes", () => {
    const spec = apply({
      annotations: { new: "3", "-old": "" },
      env: [
        { key: "-MODE", value: "" },
        { key: "PATH", value: "/sbin" },
        { key: "ADDED", value: "a=b" },
      ],
      args: ["echo", "hello"],
      rlimits: [
        { type: "RLIMIT_NOFILE", hard: 2n ** 64n - 1n, soft: 6n },
        { type: "RLIMIT_CORE", hard: 0n, soft: 0n },
      ],
      mounts: [
        { destination: "-/data/deep" },
        { destination: "/x", type: "bind", source: "/c", options: ["rbind", "rslave"] },
      ],
      hooks: { createRuntime: [{ path: "/hook", args: ["hook"], timeout: { value: 5n } }] },
      linux: {
        devices: [
          { path: "-/dev/a" },
          { path: "/dev/b", type: "b", major: 8n, minor: 1n, fileMode: { value: 0o600 } },
        ],
        namespaces: [{ type: "-pid" }, { type: "cgroup" }],
        sysctl: { "-net.a": "", "net.b": "2" },
        netDevices: { eth7: { name: "eth0" } },
        cgroupsPath: "/other",
        oomScoreAdj: { value: 5n },
        ioPriority: { class: IOPrioClass.IOPRIO_CLASS_BE, priority: 3 },
        seccompPolicy: {
          defaultAction: "SCMP_ACT_ERRNO",
          syscalls: [
            {
              names: ["read"],
              action: "SCMP_ACT_ALLOW",
              args: [{ index: 0, value: 2n ** 64n - 1n, op: "SCMP_CMP_EQ" }],
            },
          ],
        },
        rdt: { closId: { value: "gold" } },
        resources: {
          memory: { limit: { value: 200n } },
          cpu: { quota: { value: -1n }, cpus: "0-1" },
          pids: { limit: 7n },
          unified: { "memory.high": "max" },
        },
      },
    });
    expect(spec.annotations).toEqual({ keep: "1", new: "3" });
    expect(spec.process).toMatchObject({
      args: ["echo", "hello"],
      env: ["PATH=/sbin", "ADDED=a=b"],
      rlimits: [
        { type: "RLIMIT_NOFILE", hard: 2n ** 64n - 1n, soft: 6n },
        { type: "RLIMIT_CORE", hard: 0n, soft: 0n },
      ],
      oomScoreAdj: 5,
      ioPriority: { class: "IOPRIO_CLASS_BE", priority: 3 },
    });
    expect(spec.mounts.map(mount => mount.destination)).toEqual(["/proc", "/data", "/x"]);
    expect(spec.hooks).toEqual({ createRuntime: [{ path: "/hook", args: ["hook"], timeout: 5 }] });
    expect(spec.linux).toMatchObject({
      namespaces: [{ type: "mount" }, { type: "cgroup" }],
      devices: [{ path: "/dev/b", type: "b", major: 8, minor: 1, fileMode: 0o600 }],
      sysctl: { "net.b": "2" },
      netDevices: { eth7: { name: "eth0" } },
      cgroupsPath: "/other",
      rootfsPropagation: "slave",
      intelRdt: { closID: "gold" },
      seccomp: { syscalls: [{ args: [{ value: 2n ** 64n - 1n }] }] },
      resources: {
        memory: { limit: 200, swap: 200 },
        cpu: { shares: 2, quota: -1, cpus: "0-1" },
        pids: { limit: 7 },
        unified: { "memory.high": "max" },
        devices: [{ allow: true, type: "b", major: 8, minor: 1, access: "rwm" }],
      },
    });
  });

  test("brings CDI devices before its own mounts", () => {
    expect(apply({ CDIDevices: [{ name: "v/c=0" }] }).process.env).toContain("CDI=v/c=0");
  });

  test("leaves the configuration that it is given as it was", () => {
    const before = structuredClone(plain);
    apply({
      annotations: { a: "b" },
      mounts: [{ destination: "-/proc" }],
      linux: { namespaces: [{ type: "-pid" }] },
    });
    expect(plain).toEqual(before);
  });

  const wrong: readonly (readonly [string, Adjustment])[] = [
    ["mount", { mounts: [{ destination: "relative", type: "bind", source: "/a" }] }],
    ["mount", { mounts: [{ destination: "/", type: "bind", source: "/a" }] }],
    ["source", { mounts: [{ destination: "/a", type: "bind", source: "a" }] }],
    ["environment", { env: [{ key: "A=B", value: "" }] }],
    ["zero byte", { args: ["a\0b"] }],
    ["hook", { hooks: { prestart: [{ path: "hook" }] } }],
    ["device", { linux: { devices: [{ path: "/dev/../x", type: "c" }] } }],
    ["device", { linux: { devices: [{ path: "/dev/x", type: "c", major: -1n }] } }],
    ["namespace", { linux: { namespaces: [{ type: "moon" }] } }],
    ["cgroup", { linux: { cgroupsPath: "/a/../b" } }],
    ["oom_score_adj", { linux: { oomScoreAdj: { value: 2000n } } }],
    ["seccomp", { linux: { seccompPolicy: { defaultAction: "allow" } } }],
    ["sysctl", { linux: { sysctl: { "../x": "1" } } }],
    ["network device", { linux: { netDevices: { "a/b": {} } } }],
    ["limit", { rlimits: [{ type: "RLIMIT_NOFILE", hard: 1n, soft: 2n }] }],
    ["cpus", { linux: { resources: { cpu: { cpus: "all" } } } }],
    ["memory", { linux: { resources: { memory: { limit: { value: -2n } } } } }],
    ["unified", { linux: { resources: { unified: { "../x": "1" } } } }],
    ["page_size", { linux: { resources: { hugepageLimits: [{ pageSize: "2 MB" }] } } }],
    ["scheduler", { linux: { scheduler: { policy: 99 as number } } }],
    ["memory policy", { linux: { memoryPolicy: { mode: 99 as number } } }],
  ];
  test.each(wrong)("with a wrong %s is refused by name", (what, adjust) => {
    expect(() => apply(adjust)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(what) }),
    );
  });
});

describe("two plugins", () => {
  const claims = (...adjusts: readonly Adjustment[]) => {
    const owners = new Owners();
    for (const [at, adjust] of adjusts.entries())
      claimAdjustment(owners, "c", `0${at}-p`, create(ContainerAdjustmentSchema, adjust));
    return owners;
  };

  const same: readonly (readonly [string, Adjustment])[] = [
    ["Annotations", { annotations: { a: "1" } }],
    ["Mounts", { mounts: [{ destination: "/a" }] }],
    ["Env", { env: [{ key: "A" }] }],
    ["Args", { args: ["a"] }],
    ["Rlimits", { rlimits: [{ type: "RLIMIT_CORE" }] }],
    ["CdiDevices", { CDIDevices: [{ name: "v/c=0" }] }],
    ["Devices", { linux: { devices: [{ path: "/dev/a" }] } }],
    ["Namespace", { linux: { namespaces: [{ type: "-pid" }] } }],
    ["Sysctl", { linux: { sysctl: { "net.a": "" } } }],
    ["LinuxNetDevices", { linux: { netDevices: { eth1: {} } } }],
    ["CgroupsPath", { linux: { cgroupsPath: "/a" } }],
    ["OomScoreAdj", { linux: { oomScoreAdj: {} } }],
    ["IoPriority", { linux: { ioPriority: {} } }],
    ["SeccompPolicy", { linux: { seccompPolicy: {} } }],
    ["LinuxSched", { linux: { scheduler: {} } }],
    ["MemoryPolicy", { linux: { memoryPolicy: {} } }],
    ["RdtClosID", { linux: { rdt: { closId: {} } } }],
    ["MemLimit", { linux: { resources: { memory: { limit: { value: 1n } } } } }],
    ["MemSwappiness", { linux: { resources: { memory: { swappiness: { value: 1n } } } } }],
    ["CPUShares", { linux: { resources: { cpu: { shares: { value: 1n } } } } }],
    ["CPUSetMems", { linux: { resources: { cpu: { mems: "0" } } } }],
    ["PidsLimit", { linux: { resources: { pids: {} } } }],
    ["HugepageLimits", { linux: { resources: { hugepageLimits: [{ pageSize: "2MB" }] } } }],
    ["CgroupsUnified", { linux: { resources: { unified: { "memory.high": "1" } } } }],
    ["BlockioClass", { linux: { resources: { blockioClass: {} } } }],
  ];
  test.each(same)("cannot both set %s", (field, adjust) => {
    expect(() => claims(adjust, adjust)).toThrow(
      expect.objectContaining({
        code: "FAILED_PRECONDITION",
        message: expect.stringMatching(`plugins "01-p" and "00-p" both tried to set ${field}`),
      }),
    );
    expect(Field[field as keyof typeof Field]).toBeTypeOf("number");
  });

  test("can set different things, and both add hooks", () => {
    const hooks = { prestart: [{ path: "/a" }] };
    const owners = claims({ env: [{ key: "A" }], hooks }, { env: [{ key: "B" }], hooks });
    expect(owners.of("c", Field.OciHooks).get("")).toBe("00-p,01-p");
    expect(owners.message().owners["c"]).toMatchObject({
      simple: { [Field.OciHooks]: "00-p,01-p" },
      compound: { [Field.Env]: { owners: { A: "00-p", B: "01-p" } } },
    });
  });

  test("can replace what the other has set by removing it first", () => {
    claims({ env: [{ key: "A", value: "1" }] }, { env: [{ key: "-A" }, { key: "A", value: "2" }] });
    claims({ args: ["a"] }, { args: ["", "b"] });
    claims({ linux: { rdt: { closId: {} } } }, { linux: { rdt: { remove: true, closId: {} } } });
    expect(apply({ args: ["", "b"] }).process.args).toEqual(["b"]);
  });

  test("are judged by what comes out", () => {
    const all = [
      { env: [{ key: "A", value: "1" }], args: ["a"], mounts: [{ destination: "/m", source: "/1" }] },
      { env: [{ key: "-A" }], args: ["", "b"], annotations: { x: "y" } },
    ].map(adjust => create(ContainerAdjustmentSchema, adjust));
    expect(mergeAdjustments(all)).toMatchObject({
      env: [{ key: "-A" }],
      args: ["b"],
      mounts: [{ destination: "/m" }],
      annotations: { x: "y" },
    });
  });

  test("cannot set the same limit of another container, unless one does not mind", () => {
    const update = (shares: bigint, ignoreFailure = false) =>
      create(ContainerUpdateSchema, {
        containerId: "other",
        ignoreFailure,
        linux: { resources: { cpu: { shares: { value: shares } } } },
      });
    const list = new WishList();
    list.add("00-p", [update(1n)], []);
    expect(() => list.add("01-p", [update(2n)], [])).toThrow(/both tried to set CPUShares/);
    list.add(
      "01-p",
      [update(2n, true)],
      [{ $typeName: "nri.pkg.api.v1alpha1.ContainerEviction", containerId: "x", reason: "full" }],
    );
    expect(list.wishes()).toEqual({
      updates: [{ containerId: "other", resources: { cpu: { shares: 1 } }, ignoreFailure: false }],
      evictions: [{ containerId: "x", reason: "full" }],
    });
    expect(() => list.add("02-p", [update(1n)], [], "other")).toThrow(/during its creation/);
    expect(() => list.add("02-p", [create(ContainerUpdateSchema, { containerId: "../x" })], [])).toThrow(
      /not the id of a container/,
    );
  });
});

test("plugins are told all of a container", () => {
  const spec = apply({
    hooks: { poststop: [{ path: "/h" }] },
    linux: {
      seccompPolicy: { defaultAction: "SCMP_ACT_ALLOW" },
      scheduler: { policy: 2, priority: 3, flags: [1] },
      rdt: { enableMonitoring: { value: true } },
    },
  });
  const message = containerMessage({
    id: "c",
    podId: "p",
    name: "n",
    state: "running",
    labels: { l: "1" },
    annotations: { keep: "of the pod's", own: "x" },
    spec: {
      ...spec,
      process: { ...spec.process, rlimits: [{ type: "RLIMIT_AS", hard: 18446744073709552000, soft: 1 }] },
    },
    pid: 42,
    createdAtNs: 1n,
    startedAtNs: 2n,
    cdiDevices: ["v/c=0"],
    seccompProfile: { type: "localhost", localhostRef: "/p.json" },
    image: { name: "i", digest: "sha256:1", configDigest: "sha256:2" },
  });
  expect(message).toMatchObject({
    id: "c",
    podSandboxId: "p",
    name: "n",
    state: 3,
    args: ["sleep", "1"],
    env: ["PATH=/bin", "MODE=old"],
    annotations: { keep: "1", own: "x", old: "2" },
    mounts: [{ destination: "/proc" }, { destination: "/data/deep" }, { source: "/b", options: ["rbind"] }],
    hooks: { poststop: [{ path: "/h" }] },
    pid: 42,
    rlimits: [{ type: "RLIMIT_AS", hard: 2n ** 64n - 1n, soft: 1n }],
    createdAt: 1n,
    startedAt: 2n,
    CDIDevices: [{ name: "v/c=0" }],
    user: { uid: 7, gid: 8, additionalGids: [9] },
    image: { name: "i", digest: "sha256:1", configDigest: "sha256:2" },
    linux: {
      namespaces: [{ type: "mount" }, { type: "pid" }],
      resources: { memory: { limit: { value: 100n } }, cpu: { shares: { value: 2n } } },
      seccompProfile: { profileType: 2, localhostRef: "/p.json" },
      seccompPolicy: { defaultAction: "SCMP_ACT_ALLOW" },
      scheduler: { policy: 2, priority: 3, flags: [1] },
      rdt: { enableMonitoring: { value: true } },
      sysctl: { "net.a": "1" },
    },
  });
});
