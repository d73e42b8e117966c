import { fromBinary } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import { ContainerStatsSchema, PodSandboxStatsSchema } from "@ocid/cri-api";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Container, Sandbox } from "../records.ts";
import type { ServerContext } from "../server-context.ts";
import { Statistics } from "./statistics.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance", "Date", "setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A node with one pod; what a container has used of the CPU is the time since its start. */
function node(count: number, periodMs = 10_000) {
  const containers = new Map<string, Container>();
  const pod = {
    ...{ id: "pod", phase: "ready", cgroupParent: "/pods/pod", ownsCgroup: true, namespaces: {} },
    config: { labels: {}, annotations: {} },
  } as unknown as Sandbox;
  let looks = 0;
  const gone = new Set<string>();
  const usage = () => ({
    timestampNs: BigInt(Date.now()) * 1_000_000n,
    ...{ cpuUsageNs: BigInt(++looks), cpuNanoCores: 2n, memoryUsageBytes: 0n, memoryWorkingSetBytes: 0n },
    ...{ memoryRssBytes: 0n, memoryPageFaults: 0n, memoryMajorPageFaults: 0n, pids: 1n, pressure: {} },
  });
  const context = {
    records: {
      containers,
      sandboxes: new Map([[pod.id, pod]]),
      containersOf: () => [...containers.values()],
    },
    ports: {
      runtime: {
        async usage(id: string) {
          if (gone.has(id)) throw new OcidError("FAILED_PRECONDITION", `container ${id} has ended`);
          return usage();
        },
      },
      rootfs: { usage: async () => ({ bytes: 1, inodes: 1, mountpoint: "/store" }) },
      node: { cgroups: () => ({ driver: "cgroupfs" }), cgroupUsage: async () => usage() },
    },
  } as unknown as ServerContext;
  const add = (id: string) => {
    const config = { labels: {}, annotations: {} };
    const container = { id, sandboxId: pod.id, phase: "created", state: { status: "running" }, config };
    containers.set(id, container as unknown as Container);
    return container as unknown as Container;
  };
  const all = Array.from({ length: count }, (_, at) => add(`c${at}`));
  const statistics = new Statistics(context, periodMs);
  const decode = (bytes: Uint8Array) => fromBinary(ContainerStatsSchema, bytes);
  const list = async () => (await Array.fromAsync(statistics.listContainers(undefined))).map(decode);
  const listPods = async () =>
    (await Array.fromAsync(statistics.listPods(undefined))).map(bytes =>
      fromBinary(PodSandboxStatsSchema, bytes),
    );
  const ids = async () => (await list()).map(({ attributes }) => attributes?.id);
  const agesMs = (stats: Awaited<ReturnType<typeof list>>) =>
    stats.map(({ cpu }) => Date.now() - Number(cpu!.timestamp / 1_000_000n));
  return { ...{ all, add, pod, gone, statistics, list, listPods, ids, agesMs, decode }, looks: () => looks };
}

test("a few are looked at for who asks, and shared for half a second", async () => {
  const { list, looks, agesMs } = node(32);
  await list();
  expect(looks()).toBe(32);
  await vi.advanceTimersByTimeAsync(499);
  await list();
  expect(looks()).toBe(32);
  await vi.advanceTimersByTimeAsync(1);
  expect(agesMs(await list())).toEqual(Array(32).fill(0));
  expect(looks()).toBe(64);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(looks()).toBe(64);
});

test("many are looked at by the first list; those after it are answered from looks not older than a period", async () => {
  const { list, looks, agesMs } = node(100);
  expect(agesMs(await list())).toEqual(Array(100).fill(0));
  for (let round = 0; round < 5; round++) {
    await vi.advanceTimersByTimeAsync(9_999);
    const before = looks();
    const ages = agesMs(await list());
    expect(looks()).toBe(before);
    expect(Math.max(...ages)).toBeLessThan(10_000);
    expect(new Set(ages).size).toBeGreaterThan(30);
  }
});

test("who asks twice is told of new looks, also with others in between", async () => {
  const { list, agesMs } = node(100);
  await list();
  await vi.advanceTimersByTimeAsync(9_000);
  const before = await list();
  await vi.advanceTimersByTimeAsync(400);
  await list();
  await vi.advanceTimersByTimeAsync(600);
  const after = await list();
  for (const [at, { cpu }] of after.entries())
    expect(cpu!.timestamp).toBeGreaterThan(before[at]!.cpu!.timestamp);
  expect(Math.max(...agesMs(after))).toBeLessThan(1_000);
});

test("after two periods of silence nothing is looked at, and the next list looks at all", async () => {
  const { list, looks, agesMs } = node(100);
  await list();
  await vi.advanceTimersByTimeAsync(20_000);
  const before = looks();
  await vi.advanceTimersByTimeAsync(600_000);
  expect(looks()).toBe(before);
  expect(agesMs(await list())).toEqual(Array(100).fill(0));
});

test("with a period of 0 each list looks at all, and nothing is sampled", async () => {
  const { list, looks } = node(100, 0);
  await list();
  await vi.advanceTimersByTimeAsync(500);
  await list();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(looks()).toBe(200);
});

test("what ends and what begins in between is right at once, in the order of the records", async () => {
  const { all, add, ids, gone, looks } = node(40);
  await ids();
  all[3]!.state = { status: "stopped" } as Container["state"];
  add("new");
  const before = looks();
  const now = await ids();
  expect(looks()).toBe(before + 1);
  expect(now).toEqual([...all.map(({ id }) => id).filter(id => id !== "c3"), "new"]);
  // One whose end is not told yet is there without usage.
  gone.add("c5");
  await vi.advanceTimersByTimeAsync(9_900);
  expect(await ids()).toEqual(now);
});

test("a single container, and a single pod with its containers, are always looked at", async () => {
  const { all, pod, list, statistics, looks, decode } = node(40);
  await list();
  const before = looks();
  const seen = decode(await statistics.container(all[0]!)).cpu?.usageCoreNanoSeconds?.value;
  expect(seen).toBe(BigInt(before + 1));
  // And the list has that look from then on.
  expect((await list())[0]?.cpu?.usageCoreNanoSeconds?.value).toBe(seen);
  const bytes = await statistics.pod(pod);
  expect(looks()).toBe(before + 1 + 40 + 1);
  expect(fromBinary(PodSandboxStatsSchema, bytes).linux?.containers).toHaveLength(40);
});

test("pods are sampled with their containers; the rate is their containers' together", async () => {
  const { all, listPods, looks } = node(40);
  const [first] = await listPods();
  expect(looks()).toBe(41);
  expect(first?.linux?.cpu?.usageNanoCores?.value).toBe(80n);
  expect(first?.linux?.containers.map(({ attributes }) => attributes?.id)).toEqual(all.map(({ id }) => id));
  await vi.advanceTimersByTimeAsync(9_999);
  const before = looks();
  expect(before).toBeGreaterThanOrEqual(82);
  all[0]!.state = { status: "stopped" } as Container["state"];
  expect((await listPods())[0]?.linux?.containers).toHaveLength(39);
  expect(looks()).toBe(before);
});
