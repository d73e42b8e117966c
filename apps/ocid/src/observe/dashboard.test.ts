import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { collectMetrics } from "./metrics.ts";

const repository = join(import.meta.dirname, "../../../..");

test("the dashboard and the documentation name only metrics that there are, and the documentation names all of ours", async () => {
  using metrics = collectMetrics({
    version: "1",
    counts: () => ({ containers: {}, sandboxes: {} }),
    storage: async () => ({ images: 0, imageBytes: 0, containerBytes: 0 }),
    pulls: () => ({ underWay: 0, bytes: 0 }),
    scrub: () => undefined,
  });
  const { text } = await metrics.expose();
  const served = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name!));
  const named = (path: string, pattern: RegExp) =>
    new Set(
      [...readFileSync(join(repository, path), "utf8").matchAll(pattern)].map(([name]) =>
        name.replace(/_(count|bucket|sum)$/, ""),
      ),
    );
  const onDashboard = named(
    "packaging/grafana-dashboard.json",
    /\b(ocid|nodejs|process)_[a-z0-9_]+(?=[{[%(]|\{)/g,
  );
  expect(onDashboard.size).toBeGreaterThan(10);
  expect([...onDashboard].filter(name => !served.has(name))).toEqual([]);
  const documented = named("docs/operate/metrics.md", /\bocid_[a-z0-9_]+/g);
  expect([...documented].sort()).toEqual([...served].filter(name => name.startsWith("ocid_")).sort());
});
