import { OcidError, silentLogger, traced } from "@ocid/base";
import type { NodeEvent, UsageOverview } from "@ocid/cri-server";
import { describe, expect, test } from "vitest";
import { EventLog } from "./event-log.ts";
import { isOwnHost } from "./hosts.ts";
import { LiveSections, type LiveSources } from "./live-sections.ts";
import { containerRows, findingRows, podRows } from "./rows.ts";
import { loadStaticFiles } from "./static-files.ts";
import { UsageRates } from "./usage-rates.ts";

const id = "c".repeat(64);
const pod = {
  ...{ id: "a".repeat(64), name: "web", namespace: "shop", handler: "" },
  ...{ phase: "ready" as const, createdAt: new Date(1000), ips: ["10.0.0.2"] },
};
const container = {
  ...{ id, podId: pod.id, name: "app", image: "x".repeat(1000) },
  ...{ state: "running" as const, since: new Date(2000) },
};

test.each([
  ["127.0.0.1:9538", true],
  ["10.0.0.7", true],
  ["[::1]:80", true],
  ["localhost:1", true],
  ["Node-7:9538", true],
  ["evil.example", false],
  ["127.0.0.1.evil.example:80", false],
  ["node-7.evil.example", false],
  ["[evil]", false],
  ["localhost:1:2", false],
  ["", false],
  [undefined, false],
])("whether the host %s is this node: %s", (header, own) => expect(isOwnHost(header, "node-7")).toBe(own));

describe("rows", () => {
  test("are short, and count what they belong to", () => {
    expect(podRows([pod], [container]).rows).toEqual([
      expect.objectContaining({ id: "a".repeat(12), running: 1, containers: 1, createdAt: 1000 }),
    ]);
    const { rows } = containerRows([pod], [container]);
    expect(rows[0]).toMatchObject({ pod: "shop/web", podId: "a".repeat(12), since: 2000, exitCode: null });
    expect(rows[0]?.image).toHaveLength(300);
  });

  test("are cut off where there are too many, and say so", () => {
    const many = Array.from({ length: 1500 }, () => pod);
    const { rows, total } = podRows(many, []);
    expect([rows.length, total]).toEqual([1000, 1500]);
  });

  test("of findings take whatever a program has printed", () => {
    expect(findingRows([{ severity: "problem", what: 7 }, null, "x"]).rows).toEqual([
      { severity: "problem", kind: "", what: "", why: "", remedy: "" },
      { severity: "", kind: "", what: "", why: "", remedy: "" },
      { severity: "", kind: "", what: "", why: "", remedy: "" },
    ]);
  });
});

function usage(atNs: bigint, cpuUsageNs: bigint, bytes: bigint): UsageOverview {
  const io = { readBytes: bytes, writeBytes: 2n * bytes };
  const known = { timestampNs: atNs, cpuUsageNs, memoryWorkingSetBytes: 10n, memoryAvailableBytes: 90n, io };
  return {
    containers: new Map([[id, known as never]]),
    networks: new Map([[pod.id, [{ rxBytes: bytes, txBytes: 0n } as never]]]),
  };
}

test("rates are between two looks; none at the first, and none for counters that have begun again", () => {
  const rates = new UsageRates();
  const second = 1_000_000_000n;
  const key = id.slice(0, 12);
  const podKey = pod.id.slice(0, 12);
  expect(rates.take(usage(second, 0n, 1000n), second).containers[key]).toEqual({
    ...{ cpuPercent: null, readRate: null, writeRate: null },
    ...{ memoryBytes: 10, memoryLimit: 100 },
  });
  const next = rates.take(usage(3n * second, second, 5000n), 3n * second);
  expect(next.containers[key]).toMatchObject({ cpuPercent: 50, readRate: 2000, writeRate: 4000 });
  expect(next.networks[podKey]).toEqual({ receiveRate: 2000, sendRate: 0 });
  const again = rates.take(usage(4n * second, 2n * second, 0n), 4n * second);
  expect(again.containers[key]).toMatchObject({ cpuPercent: 100, readRate: null });
  rates.forget();
  expect(rates.take(usage(5n * second, 9n, 9n), 5n * second).networks[podKey]?.receiveRate).toBeNull();
});

test("events are the last ones, the newest first: ends, pulls, calls that failed", async () => {
  let tell: (event: NodeEvent) => void = () => {};
  const follow = (follower: typeof tell) => {
    tell = follower;
    return { [Symbol.dispose]() {} };
  };
  using log = new EventLog({ follow });
  const of = { at: new Date(5), pod: "web", namespace: "shop" };
  tell({ ...of, what: "created", container: undefined });
  tell({ ...of, what: "started", container: undefined });
  tell({ ...of, what: "stopped", container: "app", exitCode: 137, oomKilled: true });
  tell({ ...of, what: "stopped", container: "app", exitCode: 143, oomKilled: false });
  const call = (name: string, attributes: Readonly<Record<string, string>>, error?: Error) =>
    traced({ name: `cri.${name}`, attributes }, async () => {
      if (error) throw error;
    }).catch(() => {});
  await call("PullImage", { image: "a/b:1" });
  await call("PullImage", { image: "a/c:1" }, new OcidError("NOT_FOUND", "a/c:1 is not there"));
  await call("ContainerStatus", { container: id }, new OcidError("NOT_FOUND", "no"));
  await call("StartContainer", { container: id });
  const { rows, total } = log.rows();
  expect(rows.map(({ problem, what, subject, detail }) => [problem, what, subject, detail])).toEqual([
    [true, "PullImage failed", "a/c:1", "NOT_FOUND: a/c:1 is not there"],
    [false, "image pulled", "a/b:1", ""],
    [false, "container stopped", "shop/web/app", "exit code 143"],
    [true, "container stopped", "shop/web/app", "exit code 137, killed for want of memory"],
    [false, "pod started", "shop/web", ""],
  ]);
  expect(total).toBe(5);
  for (let count = 0; count < 300; count++) tell({ ...of, what: "removed", container: "app" });
  expect(log.rows().rows).toHaveLength(200);
});

describe("live sections", () => {
  let looks = 0;
  let doctors = 0;
  const sources = {
    overview: {
      pods() {
        looks++;
        return [pod];
      },
      containers: () => [container],
      usage: async () => usage(1n, 1n, 1n),
      conditions: async () => ({ runtime: undefined, network: "no plugin" }),
      follow: () => ({ [Symbol.dispose]() {} }),
    },
    node: { name: "node-7", version: "1", startedAt: 0 },
    events: { rows: () => ({ rows: [], total: 0 }) },
    images: async () => [],
    store: async () => ({ imageBytes: 1, containerBytes: 2, diskBytes: 3, diskFree: 4 }),
    pulls: () => [],
    askDoctor: async () => {
      doctors++;
      return { checkedAt: Date.now(), failure: null, findings: { rows: [], total: 0 } };
    },
    logger: silentLogger,
  } satisfies LiveSources;
  const seen = () => {
    const told = new Map<string, unknown>();
    return { told, viewer: (section: string, json: string) => void told.set(section, JSON.parse(json)) };
  };

  test("are looked at while somebody watches, once for all, and not afterwards", async () => {
    const live = new LiveSections(sources);
    expect(looks).toBe(0);
    const [one, two] = [seen(), seen()];
    const first = live.watch(one.viewer);
    await expect.poll(() => one.told.size).toBe(9);
    const second = live.watch(two.viewer);
    expect(Object.fromEntries(two.told)).toEqual(Object.fromEntries(one.told));
    expect(one.told.get("node")).toMatchObject({ problems: ["network not ready: no plugin"] });
    expect(looks).toBe(1);
    first[Symbol.dispose]();
    second[Symbol.dispose]();
    const late = seen();
    using _third = live.watch(late.viewer);
    await expect.poll(() => late.told.size).toBe(9);
    // What costs a second of a processor is not asked for again so soon.
    expect([looks, doctors]).toEqual([2, 1]);
  });

  test("go on when one of them cannot be had", async () => {
    const broken = async () => {
      throw new OcidError("DATA_LOSS", "a record is damaged");
    };
    const live = new LiveSections({ ...sources, images: broken });
    const { told, viewer } = seen();
    using _watching = live.watch(viewer);
    await expect.poll(() => told.has("usage")).toBe(true);
    expect(told.has("pods")).toBe(true);
    expect(told.has("images")).toBe(false);
  });
});

test("what the browser gets is all there, and asks for nothing from elsewhere", () => {
  const files = loadStaticFiles();
  expect(files.get("/")?.contentType).toBe("text/html; charset=utf-8");
  const imported = [...files.values()].flatMap(({ body }) => [
    ...body.toString().matchAll(/(?:from|src=|href=)\s*"(?!#)([^"]+)"/g),
  ]);
  for (const [, name = ""] of imported) expect(files.has(`/${name.replace("./", "")}`), name).toBe(true);
  for (const [path, { body }] of files)
    expect(body.toString().replaceAll("http://www.w3.org/2000/svg", ""), path).not.toMatch(
      /\w+:\/\/|innerHTML/,
    );
});
