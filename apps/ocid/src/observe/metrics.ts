import { codeOf, type Operation, observeOperations } from "@ocid/base";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { ScrubReport } from "../scrub.ts";

/** What the metrics are read from when they are asked for. */
export interface MetricsSources {
  readonly version: string;
  /** Containers and sandboxes by state. */
  counts(): {
    readonly containers: Readonly<Record<string, number>>;
    readonly sandboxes: Readonly<Record<string, number>>;
  };
  /** Images on the node, and bytes that images and containers' writable layers take. */
  storage(): Promise<{
    readonly images: number;
    readonly imageBytes: number;
    readonly containerBytes: number;
  }>;
  pulls(): { readonly underWay: number; readonly bytes: number };
  scrub(): ScrubReport | undefined;
}

export interface Metrics extends Disposable {
  /** Text in Prometheus' exposition format, and its media type. */
  expose(): Promise<{ readonly text: string; readonly contentType: string }>;
  /** Counts a container that was killed for want of memory. */
  countOomKill(): void;
}

/** From a millisecond, an exec's least, to two minutes, a runtime's most. */
const secondsBuckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** The daemon's metrics; docs/operate/metrics.md says what each means. */
export function collectMetrics(sources: MetricsSources): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  new Gauge({
    name: "ocid_build_info",
    help: "1; the label is the daemon's version",
    labelNames: ["version"],
    registers,
  }).set({ version: sources.version }, 1);
  const oomKills = new Counter({
    name: "ocid_container_oom_kills_total",
    help: "containers that were killed because they wanted more memory than they may have",
    registers,
  });
  const operations = countOperations(registers);
  gaugesOf(sources, registers);
  return {
    expose: async () => ({ text: await registry.metrics(), contentType: registry.contentType }),
    countOomKill: () => oomKills.inc(),
    [Symbol.dispose]() {
      operations[Symbol.dispose]();
      registry.clear();
    },
  };
}

function countOperations(registers: Registry[]): Disposable {
  const calls = new Histogram({
    name: "ocid_cri_call_seconds",
    help: "calls of the CRI by method and gRPC code",
    labelNames: ["method", "code"],
    buckets: secondsBuckets,
    registers,
  });
  const steps = new Histogram({
    name: "ocid_operation_seconds",
    help: "steps of calls: programs that ran (runtime, CNI plugins) and requests to registries",
    labelNames: ["operation", "outcome"],
    buckets: secondsBuckets,
    registers,
  });
  const underWay = new Gauge({
    name: "ocid_operations_in_progress",
    help: "calls and their steps that have not ended",
    labelNames: ["operation"],
    registers,
  });
  const started = new WeakMap<Operation, number>();
  return observeOperations({
    start(operation) {
      started.set(operation, performance.now());
      underWay.inc({ operation: operation.name });
    },
    end(operation, error) {
      underWay.dec({ operation: operation.name });
      const seconds = (performance.now() - (started.get(operation) ?? performance.now())) / 1000;
      const method = /^cri\.(.*)$/.exec(operation.name)?.[1];
      if (method === undefined)
        steps.observe({ operation: operation.name, outcome: error === undefined ? "ok" : "error" }, seconds);
      else calls.observe({ method, code: error === undefined ? "OK" : codeOf(error, "INTERNAL") }, seconds);
    },
  });
}

function gaugesOf(sources: MetricsSources, registers: Registry[]): void {
  const gauge = (
    name: string,
    help: string,
    labelNames: readonly string[],
    collect: (gauge: Gauge) => void | Promise<void>,
  ) =>
    new Gauge({
      name,
      help,
      labelNames: [...labelNames],
      registers,
      async collect() {
        this.reset();
        await collect(this);
      },
    });
  gauge("ocid_containers", "containers by state", ["state"], to => {
    for (const [state, count] of Object.entries(sources.counts().containers)) to.set({ state }, count);
  });
  gauge("ocid_pod_sandboxes", "pods by state", ["state"], to => {
    for (const [state, count] of Object.entries(sources.counts().sandboxes)) to.set({ state }, count);
  });
  gauge("ocid_pulls_in_progress", "images that are being pulled", [], to => to.set(sources.pulls().underWay));
  gauge("ocid_pull_bytes", "bytes that pulls have fetched since the daemon started", [], to =>
    to.set(sources.pulls().bytes),
  );
  gauge("ocid_images", "images on the node", [], async to => to.set((await sources.storage()).images));
  gauge("ocid_store_bytes", "bytes that the store takes, by what they are for", ["use"], async to => {
    const { imageBytes, containerBytes } = await sources.storage();
    to.set({ use: "images" }, imageBytes);
    to.set({ use: "containers" }, containerBytes);
  });
  gauge("ocid_scrub_findings", "damages that the last check of the store has found", ["kind"], to => {
    const kinds = Map.groupBy(sources.scrub()?.findings ?? [], finding => finding.kind);
    for (const [kind, findings] of kinds) to.set({ kind }, findings.length);
  });
  gauge("ocid_scrub_finished_timestamp_seconds", "when the store was last checked; 0 is never", [], to =>
    to.set((Date.parse(sources.scrub()?.finishedAt ?? "") || 0) / 1000),
  );
}
