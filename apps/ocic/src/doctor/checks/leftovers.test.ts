import { expect, test } from "vitest";
import { cgroupNamed } from "../cgroup-list.ts";
import type { NodeState } from "../node-state.ts";
import type { PodRecord } from "../records.ts";
import { leftovers } from "./leftovers.ts";

const id = (digit: string) => digit.repeat(64);
const [living, gone, container] = [id("a"), id("b"), id("c")];
const stateDir = "/var/lib/ocid";

const pod = (more: Partial<PodRecord> = {}): PodRecord => ({
  ...{ id: living, phase: "ready", pauseId: undefined, bootId: "boot" },
  ...more,
});

/** A node on which one pod and its container live and nothing is wrong. */
function healthyNode(): NodeState {
  return {
    daemon: {
      settings: { stateDir } as NodeState["daemon"]["settings"],
      usualStateDir: stateDir,
      running: true,
      mistakes: [],
      program: undefined,
    },
    bootId: "boot",
    mounts: [
      mountAt(`${stateDir}/sandboxes/${living}/shm`),
      mountAt(`${stateDir}/sandboxes/${living}/ns/net`, "nsfs"),
    ],
    processes: [process(10, ["conmon", "--cid", container, "--exit-dir", `${stateDir}/runtime/exits`])],
    cgroups: [
      { path: `/ocid-${living}`, id: living, role: "pod", processes: 2 },
      { path: `/ocid-${living}/conmon-${container}`, id: container, role: "monitor", processes: 1 },
    ],
    network: undefined,
    networkHolders: new Map([[living, ["address 10.0.0.2"]]]),
    othersAttachments: new Set(),
    otherDaemons: [],
    ownDaemons: [],
    records: {
      pods: new Map([[living, pod()]]),
      containers: new Set([container]),
      monitored: new Map([[container, { id: container, init: undefined, ended: false }]]),
      attached: [living],
      damaged: [],
      setAside: [],
    },
  };
}

function mountAt(target: string, fstype = "tmpfs"): NodeState["mounts"][number] {
  return {
    ...{ id: 1, parentId: 0, device: "0:1", root: "/", target, options: "rw" },
    ...{ propagation: [], fstype, source: "none", superOptions: "" },
  };
}

function process(pid: number, argv: readonly string[]): NodeState["processes"][number] {
  return { pid, argv, startTime: 1n, parentPid: 1 };
}

const told = (node: NodeState) => leftovers(node).map(({ kind, fix }) => [kind, fix !== undefined]);

test("a healthy node has no leftovers", () => {
  expect(told(healthyNode())).toEqual([]);
});

test.each<[string, (node: NodeState) => NodeState, string, boolean]>([
  [
    "a mount of a pod without a record",
    node => ({ ...node, mounts: [...node.mounts, mountAt(`${stateDir}/sandboxes/${gone}/shm`)] }),
    "mount",
    true,
  ],
  [
    "a pinned namespace",
    node => ({ ...node, mounts: [...node.mounts, mountAt(`${stateDir}/sandboxes/${gone}/ns/net`, "nsfs")] }),
    "namespace",
    true,
  ],
  [
    "an empty cgroup",
    node => ({
      ...node,
      cgroups: [...node.cgroups, { path: `/ocid-${gone}`, id: gone, role: "pod", processes: 0 }],
    }),
    "cgroup",
    true,
  ],
  [
    "a cgroup with processes in it, which is only told",
    node => ({
      ...node,
      cgroups: [...node.cgroups, { path: `/ocid-${gone}`, id: gone, role: "pod", processes: 1 }],
    }),
    "cgroup",
    false,
  ],
  [
    "a cgroup that may be another daemon's, which is only told",
    node => ({
      ...node,
      otherDaemons: [process(7, ["ocid", "--state-dir", "/other"])],
      cgroups: [...node.cgroups, { path: `/ocid-${gone}`, id: gone, role: "pod", processes: 0 }],
    }),
    "cgroup",
    false,
  ],
  [
    "a monitor of ours without a container",
    node => ({
      ...node,
      processes: [
        ...node.processes,
        process(11, ["/usr/bin/conmon", "--cid", gone, "--exit-dir", `${stateDir}/runtime/exits`]),
      ],
    }),
    "monitor",
    true,
  ],
  [
    "an address of a pod that is gone",
    node => ({ ...node, networkHolders: new Map([[gone, ["address 10.0.0.9"]]]) }),
    "network",
    true,
  ],
  [
    "an address that may be that of a runtime which runs beside, which is only told",
    node => ({
      ...node,
      otherDaemons: [process(8, ["/usr/bin/crio"])],
      networkHolders: new Map([[gone, ["address 10.0.0.9"]]]),
    }),
    "network",
    false,
  ],
  [
    "a container that no record of the daemon's knows",
    node => ({ ...node, records: { ...node.records, containers: new Set() } }),
    "container",
    false,
  ],
])("%s", (_, spoil, kind, fixable) => {
  expect(told(spoil(healthyNode()))).toEqual([[kind, fixable]]);
});

test("what belongs to others is passed over", () => {
  const node = healthyNode();
  const others: NodeState = {
    ...node,
    mounts: [
      ...node.mounts,
      mountAt(`/run/containers/storage/overlay-containers/${gone}/userdata/shm`),
      mountAt(`/var/lib/containers/storage/overlay/${gone}/merged`, "overlay"),
      mountAt(`/run/containerd/io.containerd.grpc.v1.cri/sandboxes/${gone}/shm`),
    ],
    processes: [
      ...node.processes,
      process(12, ["conmon", "--cid", gone, "--exit-dir", "/run/crio/exits"]),
      process(13, ["conmon", "--cid", gone, "--exit-dir", `${stateDir}-two/runtime/exits`]),
    ],
    networkHolders: new Map([[gone, ["address 10.0.0.9"]]]),
    othersAttachments: new Set([gone]),
  };
  expect(leftovers(others)).toEqual([]);
  for (const name of [`crio-${gone}`, `libpod-conmon-${gone}.scope`, gone, "docker", `crio-conmon-${gone}`])
    expect(cgroupNamed(name)).toBeUndefined();
});

test("mounts of a stopped pod, and of one of an earlier boot, are leftovers", () => {
  for (const more of [{ phase: "stopped" }, { bootId: "earlier" }]) {
    const node = healthyNode();
    const records = { ...node.records, pods: new Map([[living, pod(more)]]), attached: [] };
    const { mounts } = node;
    const kinds = leftovers({ ...node, records, mounts, networkHolders: new Map() }).map(({ kind }) => kind);
    expect(kinds).toEqual(["mount", "namespace"]);
  }
});

test("while a record is damaged, nothing is taken for an orphan", () => {
  const node = healthyNode();
  const records = { ...node.records, pods: new Map(), damaged: ["sandbox.json: cut off"] };
  expect(told({ ...node, records })).toEqual([["record", false]]);
});

test("what was set aside is told and never mended, and its parts are no orphans", () => {
  const node = healthyNode();
  const directory = `${stateDir}/quarantine/records/${container}`;
  const records = {
    ...node.records,
    containers: new Set<string>(),
    setAside: [{ kind: "container" as const, id: container, directory, reason: "it is empty" }],
  };
  expect(told({ ...node, records })).toEqual([["quarantine", false]]);
});
