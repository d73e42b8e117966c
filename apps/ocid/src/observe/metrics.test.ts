import { statSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { OcidError, traced } from "@ocid/base";
import { tempRoot } from "@ocid/testkit";
import { describe, expect, test } from "vitest";
import { collectMetrics, type MetricsSources } from "./metrics.ts";
import { serveMetrics } from "./metrics-server.ts";

const sources: MetricsSources = {
  version: "1.2.3",
  counts: () => ({ containers: { running: 3, stopped: 1 }, sandboxes: { ready: 2 } }),
  storage: async () => ({ images: 4, imageBytes: 1000, containerBytes: 20 }),
  pulls: () => ({ underWay: 1, bytes: 77 }),
  scrub: () => ({
    startedAt: "2026-01-01T00:00:00Z",
    finishedAt: "2026-01-01T00:00:10Z",
    findings: [{ kind: "content" }, { kind: "content" }, { kind: "link" }] as never,
  }),
};

describe("metrics", () => {
  test("say what there is, and count calls by method and code and steps by outcome", async () => {
    using metrics = collectMetrics(sources);
    const call = (name: string, work: () => Promise<void>) =>
      traced({ name: `cri.${name}`, attributes: {} }, work).catch(() => {});
    await call("RunPodSandbox", () => traced({ name: "cni.ADD", attributes: {} }, async () => {}));
    await call("RunPodSandbox", async () => {
      throw new OcidError("NOT_FOUND", "no");
    });
    metrics.countOomKill();
    const { text, contentType } = await metrics.expose();
    expect(contentType).toMatch(/^text\/plain; version=0\.0\.4/);
    for (const line of [
      'ocid_build_info{version="1.2.3"} 1',
      'ocid_containers{state="running"} 3',
      'ocid_pod_sandboxes{state="ready"} 2',
      "ocid_images 4",
      'ocid_store_bytes{use="containers"} 20',
      "ocid_pulls_in_progress 1",
      "ocid_pull_bytes 77",
      'ocid_scrub_findings{kind="content"} 2',
      "ocid_scrub_finished_timestamp_seconds 1767225610",
      "ocid_container_oom_kills_total 1",
      'ocid_cri_call_seconds_count{method="RunPodSandbox",code="OK"} 1',
      'ocid_cri_call_seconds_count{method="RunPodSandbox",code="NOT_FOUND"} 1',
      'ocid_operation_seconds_count{operation="cni.ADD",outcome="ok"} 1',
      'ocid_operations_in_progress{operation="cri.RunPodSandbox"} 0',
    ])
      expect(text.split("\n")).toContain(line);
    expect(text).toContain("nodejs_eventloop_lag_seconds");
  });

  test("are served on a socket that only its owner can open, and nothing else is", async () => {
    using root = tempRoot("ocid-metrics-");
    const path = join(root.path, "metrics.sock");
    using metrics = collectMetrics(sources);
    await using _server = await serveMetrics(path, metrics);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const ask = (url: string, method = "GET") =>
      new Promise<number | undefined>((resolve, reject) =>
        get({ socketPath: path, path: url, method }, response => {
          response.resume();
          resolve(response.statusCode);
        }).once("error", reject),
      );
    expect(await Promise.all([ask("/metrics"), ask("/"), ask("/metrics", "POST")])).toEqual([200, 404, 405]);
  });
});
