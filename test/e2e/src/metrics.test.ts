import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { CgroupDriver, type ContainerStats, MetricType } from "@ocid/cri-api";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions, type TestPod } from "./pod-actions.ts";

const isVersion2 = existsSync("/sys/fs/cgroup/cgroup.controllers");
let daemon: DaemonUnderTest;
let pod: TestPod;
let container: string;
const { pod: makePod, started, exec, remove } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
  pod = await makePod("measured");
  const resources = {
    cpuPeriod: 100_000n,
    cpuQuota: 20_000n,
    cpuShares: 512n,
    memoryLimitInBytes: 64n * 2n ** 20n,
  };
  container = await started(pod, "worker", {
    labels: { app: "worker" },
    linux: { resources },
  });
  await exec(
    container,
    "sh",
    "-c",
    "dd if=/dev/zero of=/file bs=1k count=64 2>/dev/null; seq 1 200000 >/dev/null",
  );
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

async function metrics() {
  const { descriptors } = await daemon.runtime.listMetricDescriptors({});
  const { podMetrics } = await daemon.runtime.listPodSandboxMetrics({});
  return { descriptors, podMetrics };
}

describe("metrics", () => {
  test("have a descriptor each, with as many labels as values, and whole units", async () => {
    const { descriptors, podMetrics } = await metrics();
    const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys]));
    expect(keys.size).toBe(descriptors.length);
    expect(descriptors.every(({ help }) => help.length > 0)).toBe(true);
    const found = podMetrics.find(({ podSandboxId }) => podSandboxId === pod.id)!;
    const all = [...found.metrics, ...found.containerMetrics.flatMap(one => one.metrics)];
    for (const metric of all) {
      expect(keys.get(metric.name), metric.name).toHaveLength(metric.labelValues.length);
      expect(metric.metricType, metric.name).toBe(
        /_(total|failcnt)$/.test(metric.name) && metric.name !== "container_fs_inodes_total"
          ? MetricType.COUNTER
          : MetricType.GAUGE,
      );
      expect(metric.timestamp).toBeGreaterThan(1_700_000_000_000_000_000n);
    }
    const values = new Map(all.map(metric => [metric.name, metric]));
    const value = (name: string) => values.get(`container_${name}`)?.value?.value;
    expect(
      Object.fromEntries(
        keys
          .get("container_cpu_usage_seconds_total")!
          .map((key, at) => [key, values.get("container_cpu_usage_seconds_total")!.labelValues[at]]),
      ),
    ).toEqual({
      container: "worker",
      id: expect.stringMatching(new RegExp(`^/.*${container}(\\.scope)?$`)),
      image: daemon.image,
      name: container,
      namespace: "e2e",
      pod: "measured",
      cpu: "total",
    });
    expect(value("spec_cpu_period")).toBe(100_000n);
    expect(value("spec_cpu_quota")).toBe(20_000n);
    // On version 2 the kernel keeps a weight of 20, which stands for 500 to 526.
    expect(value("spec_cpu_shares")).toBe(isVersion2 ? 500n : 512n);
    expect(value("spec_memory_limit_bytes")).toBe(64n * 2n ** 20n);
    expect(value("threads")).toBeGreaterThan(0n);
    expect(value("processes")).toBe(1n);
    expect(value("file_descriptors")).toBeGreaterThan(2n);
    expect(value("sockets")).toBe(0n);
    expect(value("fs_usage_bytes")).toBeGreaterThanOrEqual(65_536n);
    expect(value("fs_limit_bytes")).toBeGreaterThan(2n ** 20n);
    expect(value("cpu_cfs_periods_total")).toBeGreaterThan(0n);
    expect(value("oom_events_total")).toBe(0n);
    expect(value("memory_usage_bytes")).toBeGreaterThan(0n);
    expect(Number(value("last_seen"))).toBeCloseTo(Date.now() / 1000, -2);
    expect(Number(value("start_time_seconds"))).toBeCloseTo(Date.now() / 1000, -3);
    for (const group of [
      "memory_failures_total",
      "fs_inodes_free",
      "ulimits_soft",
      "network_receive_bytes_total",
    ])
      expect(value(group), group).toBeDefined();
  });

  test("of a network count what was sent, by interface", async () => {
    const bytes = async () => {
      const { podMetrics } = await metrics();
      return podMetrics
        .find(({ podSandboxId }) => podSandboxId === pod.id)!
        .metrics.find(
          ({ name, labelValues }) =>
            name === "container_network_transmit_bytes_total" && labelValues.at(-1) === "eth0",
        )!.value!.value;
    };
    const before = await bytes();
    await exec(container, "sh", "-c", `ping -c 2 -W 1 ${daemon.addresses}.1 >/dev/null 2>&1; true`);
    await eventually("sent bytes are counted", async () => (await bytes()) > before);
  });

  test("of the stream are those of the list", async () => {
    const { podMetrics } = await metrics();
    const streamed = [];
    for await (const { podSandboxMetrics } of daemon.runtime.streamPodSandboxMetrics({}))
      streamed.push(...podSandboxMetrics);
    const names = (all: typeof podMetrics) =>
      all.map(one => [
        one.podSandboxId,
        one.containerMetrics.map(({ metrics }) => metrics.map(({ name }) => name)),
      ]);
    expect(names(streamed)).toEqual(names(podMetrics));
  });
});

describe("statistics", () => {
  test("of a container: CPU, memory, swap, disk", async () => {
    const { stats } = await daemon.runtime.containerStats({ containerId: container });
    expect(stats?.attributes).toMatchObject({ id: container, labels: { app: "worker" } });
    expect(stats?.cpu?.usageCoreNanoSeconds?.value).toBeGreaterThan(0n);
    expect(stats?.memory?.availableBytes?.value).toBe(
      64n * 2n ** 20n - stats!.memory!.workingSetBytes!.value,
    );
    expect(stats?.memory?.pageFaults?.value).toBeGreaterThan(0n);
    expect(stats?.writableLayer?.usedBytes?.value).toBeGreaterThanOrEqual(65_536n);
    expect(stats?.writableLayer?.fsId?.mountpoint).toBe(join(daemon.root, "r"));
  });

  test("a rate needs two looks a second apart, and a third at once does not spoil it", async () => {
    const nanoCores = async () =>
      (await daemon.runtime.containerStats({ containerId: container })).stats?.cpu?.usageNanoCores?.value;
    await eventually("there is a rate", async () => (await nanoCores()) !== undefined);
    const rate = await nanoCores();
    expect(await nanoCores()).toBe(rate);
  });

  test("of a pod: its cgroup, its containers, its network, its processes", async () => {
    const { stats } = await daemon.runtime.podSandboxStats({ podSandboxId: pod.id });
    const { linux } = stats!;
    expect(linux?.containers.map(one => one.attributes?.id)).toEqual([container]);
    const worker = linux!.containers[0]!;
    expect(linux?.memory?.usageBytes?.value).toBeGreaterThanOrEqual(worker.memory!.rssBytes!.value);
    expect(linux?.cpu?.usageCoreNanoSeconds?.value).toBeGreaterThanOrEqual(
      worker.cpu!.usageCoreNanoSeconds!.value,
    );
    expect(linux?.network?.defaultInterface).toMatchObject({ name: "eth0" });
    expect(linux?.process?.processCount?.value).toBeGreaterThan(0n);
  });

  test("are found by label, pod and id, in lists and streams alike; what has ended still has its disk space", async () => {
    const filters = [
      [{ labelSelector: { app: "worker" } }, 1],
      [{ labelSelector: { app: "other" } }, 0],
      [{ id: container.slice(0, 12) }, 1],
      [{ podSandboxId: pod.id }, 1],
      [{ podSandboxId: "f".repeat(64) }, 0],
    ] as const;
    for (const [filter, count] of filters) {
      expect(
        (await daemon.runtime.listContainerStats({ filter })).stats,
        JSON.stringify(filter),
      ).toHaveLength(count);
      const streamed: ContainerStats[] = [];
      for await (const { containerStats } of daemon.runtime.streamContainerStats({ filter }))
        streamed.push(...containerStats);
      expect(streamed, JSON.stringify(filter)).toHaveLength(count);
    }
    const short = await started(pod, "short", {}, ["true"]);
    await eventually(
      "it has ended",
      async () => (await daemon.runtime.listContainers({ filter: { id: short } })).containers[0]?.state === 2,
    );
    const { stats } = await daemon.runtime.containerStats({ containerId: short });
    expect(stats?.writableLayer?.fsId?.mountpoint).toBe(join(daemon.root, "r"));
    await expect(daemon.runtime.containerStats({ containerId: "nothing" })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
    await expect(daemon.runtime.podSandboxStats({ podSandboxId: "nothing" })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
  });
});

test("a pod's own cgroup is limited to what its containers and its overhead may use", async () => {
  const limited = await makePod("limited");
  await started(limited, "one");
  const mib = 2n ** 20n;
  await daemon.runtime.updatePodSandboxResources({
    podSandboxId: limited.id,
    overhead: { memoryLimitInBytes: 16n * mib },
    resources: { memoryLimitInBytes: 100n * mib, cpuShares: 256n },
  });
  // Of systemd's slices none is the pod's alone that the kubelet has not named and limited itself.
  if ((await daemon.runtime.runtimeConfig({})).linux?.cgroupDriver === CgroupDriver.CGROUPFS) {
    const { stats } = await daemon.runtime.podSandboxStats({ podSandboxId: limited.id });
    const memory = stats!.linux!.memory!;
    expect(memory.availableBytes!.value + memory.workingSetBytes!.value).toBe(116n * mib);
  }
  const record = JSON.parse(
    readFileSync(join(daemon.root, "state/sandboxes", limited.id, "sandbox.json"), "utf8"),
  );
  expect(record.config.linux).toMatchObject({
    overhead: { memoryLimitInBytes: String(16n * mib) },
    resources: { memoryLimitInBytes: String(100n * mib) },
  });
  await expect(
    daemon.runtime.updatePodSandboxResources({ podSandboxId: limited.id, resources: { cpuQuota: -5n } }),
  ).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining("cpuQuota") });
  await daemon.runtime.stopPodSandbox({ podSandboxId: limited.id });
  await expect(
    daemon.runtime.updatePodSandboxResources({ podSandboxId: limited.id, resources: { cpuShares: 2n } }),
  ).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
  await remove(limited);
  await expect(daemon.runtime.updatePodSandboxResources({ podSandboxId: limited.id })).rejects.toMatchObject({
    code: "NOT_FOUND",
  });
});
