import { create } from "@bufbuild/protobuf";
import {
  CapabilitySchema,
  ContainerConfigSchema,
  DeviceSchema,
  LinuxContainerResourcesSchema,
  LinuxContainerSecurityContextSchema,
  MountSchema,
  NamespaceMode,
  PodSandboxConfigSchema,
} from "@ocid/cri-api";
import { describe, expect, test } from "vitest";
import { checkContainerConfig, refuseOtherNamespaces } from "../container-check.ts";
import { pauseProgram } from "../pause-program.ts";
import { containerCapabilities } from "./capabilities.ts";
import { resolveUser } from "./container-user.ts";
import { containerDevices } from "./devices.ts";
import { requestedMounts } from "./mounts.ts";
import { runtimeResources } from "./resources.ts";
import { defaultSeccomp, seccompFor } from "./seccomp.ts";
import { refuseLabels, refusePodLabels } from "./security-labels.ts";
import { podSysctls } from "./sysctls.ts";

describe("users", () => {
  const files: Record<string, string> = {
    "/etc/passwd": "root:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\nbroken line\n",
    "/etc/group": "root:x:0:\n50:x:0:\nextra:x:50:app,other\n",
  };
  const who = (context: object, imageUser = "") =>
    resolveUser(create(LinuxContainerSecurityContextSchema, context), imageUser, async path => files[path]);

  test.each([
    [{}, "", { uid: 0, gid: 0, groups: [0] }],
    [{}, "app", { uid: 1000, gid: 1001, groups: [1001, 50] }],
    [{}, "app:extra", { uid: 1000, gid: 50, groups: [50] }],
    [{}, "4242", { uid: 4242, gid: 0, groups: [0] }],
    [{}, "1000:50", { uid: 1000, gid: 50, groups: [50] }],
    [{ runAsUser: { value: 1000n } }, "", { uid: 1000, gid: 1001, groups: [1001, 50] }],
    [{ runAsUsername: "1000" }, "", { uid: 1000, gid: 1001, groups: [1001, 50] }],
    [{ runAsUser: { value: 7n }, runAsGroup: { value: 50n } }, "", { uid: 7, gid: 50, groups: [50] }],
    [
      { runAsUser: { value: 7n }, runAsGroup: { value: 8n }, supplementalGroups: [9n] },
      "app",
      { uid: 7, gid: 8, groups: [8, 9] },
    ],
    [
      { runAsUsername: "app", supplementalGroupsPolicy: 1, supplementalGroups: [9n] },
      "",
      { uid: 1000, gid: 1001, groups: [1001, 9] },
    ],
  ])("%o with the image's %j", async (context, image, expected) => {
    expect(await who(context, image)).toEqual(expected);
  });

  test.each([
    [{ runAsUser: { value: -1n } }, "", /out of range/],
    [{ runAsUser: { value: 4294967295n } }, "", /out of range/],
    [{ runAsGroup: { value: 5n } }, "", /needs run_as_user/],
    [{ runAsUser: { value: 5n }, runAsUsername: "app" }, "", /together/],
    [{ runAsUser: { value: 5n }, runAsGroup: { value: 4294967296n } }, "", /out of range/],
    [{ supplementalGroups: [-5n] }, "", /out of range/],
    [{}, "1000:99999999999", /out of range/],
    [{}, "99999999999", /out of range/],
    [{}, "nobody", /\/etc\/passwd/],
    [{}, "app:nogroup", /\/etc\/group/],
  ])("%o with the image's %j is refused", async (context, image, why) => {
    await expect(who(context, image)).rejects.toThrow(why);
  });
});

describe("capabilities", () => {
  const node = new Set(["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SYS_ADMIN"]);
  const given = (request: object, privileged = false) =>
    containerCapabilities(create(CapabilitySchema, request), privileged, node).bounding;

  test("are the defaults that the node can give, with what is added and without what is dropped", () => {
    expect(given({})).toEqual(["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]);
    expect(given({ addCapabilities: ["sys_admin"], dropCapabilities: ["CAP_KILL"] })).toEqual([
      "CAP_CHOWN",
      "CAP_NET_RAW",
      "CAP_SYS_ADMIN",
    ]);
    expect(given({ dropCapabilities: ["ALL"], addCapabilities: ["CHOWN"] })).toEqual(["CAP_CHOWN"]);
    expect(given({ addCapabilities: ["ALL"] })).toEqual([...node]);
    expect(given({}, true)).toEqual([...node]);
  });

  test("ambient ones reach a process that is not root", () => {
    expect(
      containerCapabilities(create(CapabilitySchema, { addAmbientCapabilities: ["NET_RAW"] }), false, node),
    ).toMatchObject({ ambient: ["CAP_NET_RAW"], inheritable: ["CAP_NET_RAW"] });
  });

  test("that do not exist are refused", () => {
    expect(() => given({ addCapabilities: ["x; rm"] })).toThrow(/unknown capability/);
    expect(() => given({ dropCapabilities: ["CAP_NEVER"] })).toThrow(/CAP_NEVER/);
    expect(() => given({ addAmbientCapabilities: ["ALL"] })).toThrow(/one by one/);
  });
});

describe("resources", () => {
  test("what is zero is not asked for, and what the node has not is dropped aloud", () => {
    const dropped: string[] = [];
    const request = create(LinuxContainerResourcesSchema, {
      cpuShares: 512n,
      memoryLimitInBytes: 1024n,
      hugepageLimits: [{ pageSize: "2MB", limit: 4n }],
    });
    expect(
      runtimeResources(request, {
        hugetlb: false,
        swap: true,
        unified: false,
        onDropped: what => dropped.push(what),
      }),
    ).toEqual({ cpu: { shares: 512 }, memory: { limit: 1024, swap: 1024 } });
    expect(dropped).toEqual([expect.stringContaining("hugetlb")]);
    const unified = create(LinuxContainerResourcesSchema, { unified: { "memory.high": "5" } });
    const support = { hugetlb: true, swap: false, onDropped: (what: string) => dropped.push(what) };
    expect(runtimeResources(unified, { ...support, unified: true })).toEqual({
      unified: { "memory.high": "5" },
    });
    expect(runtimeResources(unified, { ...support, unified: false })).toEqual({});
    expect(dropped.at(-1)).toContain("memory.high");
    expect(
      runtimeResources(create(LinuxContainerResourcesSchema), {
        hugetlb: true,
        swap: true,
        unified: true,
        onDropped: () => {},
      }),
    ).toEqual({});
  });
});

test.each([
  { cpuPeriod: -1n },
  { memoryLimitInBytes: -5n },
  { oomScoreAdj: 1001n },
  { oomScoreAdj: -1001n },
  { cpusetCpus: "0-1;rm" },
  { hugepageLimits: [{ pageSize: "../x", limit: 1n }] },
  { unified: { "../../cgroup.procs": "1" } },
])("limits of %o are refused", request => {
  expect(() =>
    runtimeResources(create(LinuxContainerResourcesSchema, request), {
      hugetlb: true,
      swap: true,
      unified: true,
      onDropped: () => {},
    }),
  ).toThrow(/cannot be/);
});

test.each([
  [{ memorySwapLimitInBytes: 100n }, /memory_swap_limit_in_bytes 100 .* less than memory_limit_in_bytes 0/],
  [{ memoryLimitInBytes: 200n, memorySwapLimitInBytes: 100n }, /less than memory_limit_in_bytes 200/],
])("a limit of memory and swap together is not forgotten: %o", (request, why) => {
  const support = { hugetlb: true, unified: true, onDropped: () => {} };
  const resources = create(LinuxContainerResourcesSchema, request);
  expect(() => runtimeResources(resources, { ...support, swap: true })).toThrow(why);
  expect(() => runtimeResources(resources, { ...support, swap: false })).toThrow(why);
});

describe("namespaces", () => {
  const { POD, NODE, CONTAINER, TARGET } = NamespaceMode;
  const container = (network: NamespaceMode, ipc: NamespaceMode) =>
    create(ContainerConfigSchema, {
      metadata: { name: "c" },
      linux: { securityContext: { namespaceOptions: { network, ipc } } },
    });
  const pod = (network: NamespaceMode, ipc: NamespaceMode) =>
    create(PodSandboxConfigSchema, {
      linux: { securityContext: { namespaceOptions: { network, ipc } } },
    });

  test.each([
    [container(NODE, POD), pod(POD, POD), /its network namespace cannot be of mode NODE/],
    [container(POD, NODE), pod(NODE, POD), /its ipc namespace cannot be of mode NODE/],
    [container(CONTAINER, POD), pod(NODE, NODE), /its network namespace cannot be of mode CONTAINER/],
    [container(POD, TARGET), pod(POD, POD), /its ipc namespace cannot be of mode TARGET/],
  ])("of a container that its pod does not have are refused (%#)", (config, of, why) => {
    expect(() => refuseOtherNamespaces(config, of)).toThrow(why);
  });

  test("of a container that are its pod's, or not spoken of, are none to refuse", () => {
    refuseOtherNamespaces(container(NODE, NODE), pod(NODE, NODE));
    refuseOtherNamespaces(container(POD, POD), pod(NODE, NODE));
    refuseOtherNamespaces(create(ContainerConfigSchema), pod(NODE, NODE));
  });
});

test("a policy for supplemental groups that does not exist is refused", () => {
  const config = create(ContainerConfigSchema, {
    metadata: { name: "c" },
    image: { image: "box" },
    linux: { securityContext: { supplementalGroupsPolicy: 7 as number } },
  });
  expect(() => checkContainerConfig(config)).toThrow(/unknown supplemental_groups_policy 7/);
});

describe("security modules", () => {
  const config = (securityContext: object) =>
    create(ContainerConfigSchema, { metadata: { name: "c" }, linux: { securityContext } });
  const none = { apparmor: false, selinux: false };
  const podConfig = create(PodSandboxConfigSchema, {
    metadata: { name: "p" },
    linux: { securityContext: { selinuxOptions: { level: "s0:c1" } } },
  });

  test.each([
    [{ apparmor: { profileType: 2, localhostRef: "x" } }, none, /not available/],
    [{ apparmorProfile: "localhost/x" }, none, /not available/],
    [{ apparmorProfile: "nonsense" }, none, /not an AppArmor profile/],
    [{ apparmor: { profileType: 7 } }, none, /unknown type/],
    [{ apparmor: { profileType: 0 } }, { ...none, apparmor: true }, /default AppArmor/],
    [{ selinuxOptions: { level: "s0:c1" } }, { ...none, selinux: true }, /SELinux/],
  ])("%o with %o is refused", (security, modules, why) => {
    expect(() => refuseLabels(config(security), modules)).toThrow(why);
  });

  test("a volume is not silently left with the labels that it has", () => {
    const relabelled = create(ContainerConfigSchema, {
      metadata: { name: "c" },
      mounts: [{ containerPath: "/data", hostPath: "/data", selinuxRelabel: true }],
    });
    expect(() => refuseLabels(relabelled, { ...none, selinux: true })).toThrow(/\/data to be relabelled/);
    const dropped: string[] = [];
    refuseLabels(relabelled, none, what => dropped.push(what));
    expect(dropped).toEqual([expect.stringContaining("selinux_relabel")]);
  });

  test("that are not there are not missed by what means nothing without them", () => {
    const dropped: string[] = [];
    const note = (what: string) => dropped.push(what);
    refuseLabels(config({ apparmor: { profileType: 1 } }), none, note);
    expect(dropped).toEqual([]);
    refuseLabels(config({ apparmor: { profileType: 0 } }), none, note);
    refuseLabels(config({ selinuxOptions: { level: "s0:c1" } }), none, note);
    refusePodLabels(podConfig, none, note);
    expect(dropped).toEqual([
      expect.stringContaining("apparmor"),
      ...Array(2).fill(expect.stringContaining("selinux_options")),
    ]);
  });

  test("a pod is not silently left without its label", () => {
    expect(() => refusePodLabels(podConfig, { ...none, selinux: true }, () => {})).toThrow(/pod p .*SELinux/);
  });
});

describe("seccomp", () => {
  test("the default filter opens with the capability that a call belongs to", () => {
    const names = (capabilities: string[]) =>
      defaultSeccomp(capabilities).syscalls!.flatMap(rule =>
        rule.action === "SCMP_ACT_ALLOW" ? rule.names : [],
      );
    expect(names([])).not.toContain("mount");
    expect(names(["CAP_SYS_ADMIN"])).toContain("mount");
    expect(defaultSeccomp([]).syscalls).toContainEqual({
      names: ["clone3"],
      action: "SCMP_ACT_ERRNO",
      errnoRet: 38,
    });
  });

  test.each([
    ["x64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]],
    ["arm64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]],
  ])("on %s the filter holds for all that its kernel runs", (architecture, architectures) => {
    expect(defaultSeccomp([], architecture).architectures).toEqual(architectures);
  });

  test("nothing is filtered where nothing is asked for, and a missing profile is named", () => {
    expect(seccompFor(undefined, "", false, [])).toBeUndefined();
    expect(() => seccompFor(undefined, "localhost//no/such.json", false, [])).toThrow(/\/no\/such\.json/);
    expect(() => seccompFor(undefined, "localhost/../x", false, [])).toThrow(/absolute/);
  });
});

describe("mounts, devices, sysctls", () => {
  const mount = (more: object) => create(MountSchema, { containerPath: "/x", hostPath: "/h", ...more });

  test("mounts are shallow before deep, with their propagation", () => {
    const mounts = requestedMounts(
      [
        { mount: mount({ containerPath: "/a/b/c" }), source: "/first" },
        { mount: mount({ containerPath: "/a/", readonly: true, propagation: 1 }), source: "/second" },
      ],
      false,
    );
    expect(mounts.map(({ destination, options }) => [destination, options])).toEqual([
      ["/a", ["rbind", "rslave", "ro"]],
      ["/a/b/c", ["rbind", "rprivate", "rw"]],
    ]);
    const one = (more: object, rro = true) =>
      requestedMounts([{ mount: mount(more), source: "/h" }], rro)[0]!;
    expect(one({ readonly: true, recursiveReadOnly: true }).options).toContain("rro");
    expect(() => one({ containerPath: "relative" })).toThrow(/absolute/);
    expect(() => one({ containerPath: "/a/.." })).toThrow(/below \//);
    expect(() => one({ recursiveReadOnly: true })).toThrow(/needs readonly/);
    expect(() => one({ recursiveReadOnly: true, readonly: true, propagation: 1 })).toThrow(/private/);
    expect(() => one({ recursiveReadOnly: true, readonly: true }, false)).toThrow(/not supported/);
  });

  test("a device brings its rule, after the standard ones", () => {
    const { devices, rules } = containerDevices(
      [create(DeviceSchema, { hostPath: "/dev/null", containerPath: "/dev/nothing", permissions: "r" })],
      false,
    );
    expect(devices).toEqual([
      expect.objectContaining({ path: "/dev/nothing", type: "c", major: 1, minor: 3 }),
    ]);
    expect(rules[0]).toEqual({ allow: false, access: "rwm" });
    expect(rules.at(-1)).toEqual({ allow: true, type: "c", major: 1, minor: 3, access: "r" });
    expect(() => containerDevices([create(DeviceSchema, { hostPath: "/etc/passwd" })], false)).toThrow(
      /not a device/,
    );
  });

  test("only a namespace's own sysctls may be set", () => {
    const own = { net: true, ipc: true };
    expect(
      podSysctls({ "net.core.somaxconn": "1", "kernel.shmmax": "2", "fs.mqueue.msg_max": "3" }, own),
    ).toBeDefined();
    for (const name of ["vm.swappiness", "kernel.core_pattern", "net..x", "../x", "fs.file-max"])
      expect(() => podSysctls({ [name]: "1" }, own)).toThrow(/INVALID|sysctl/);
    expect(() => podSysctls({ "net.core.somaxconn": "1\n2" }, own)).toThrow(/one line/);
    expect(() => podSysctls({ "net.core.somaxconn": "1" }, { net: false, ipc: true })).toThrow(
      /node's network/,
    );
  });
});

test("the pause program is an executable of both architectures", () => {
  for (const [architecture, machine] of [
    ["x64", 62],
    ["arm64", 183],
  ] as const) {
    const program = pauseProgram(architecture);
    expect(program.toString("latin1", 0, 4)).toBe("\x7fELF");
    expect(program.readUInt16LE(18)).toBe(machine);
    expect(program.readBigUInt64LE(96)).toBe(BigInt(program.byteLength));
  }
  expect(() => pauseProgram("mips")).toThrow(/not supported/);
});
