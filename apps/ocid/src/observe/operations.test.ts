import { type LogFields, silentLogger, traced } from "@ocid/base";
import { afterEach, expect, test, vi } from "vitest";
import { watchStages } from "./operations.ts";

afterEach(() => void vi.useRealTimers());

function watch() {
  vi.useFakeTimers();
  const lines: LogFields[] = [];
  const logger = { ...silentLogger, warn: (_: string, fields?: LogFields) => void lines.push(fields ?? {}) };
  return { lines, stages: watchStages({ logger, slowMs: 1_000, stuckMs: 10_000 }) };
}

test("an operation that takes long is told of once, with what it waits for; one that is stuck is unhealthy", async () => {
  const { lines, stages } = watch();
  using _stages = stages;
  const end = Promise.withResolvers<void>();
  const call = traced({ name: "cri.RunPodSandbox", attributes: { sandbox: "web" } }, () =>
    traced({ name: "cni.ADD", attributes: { plugin: "bridge", netns: "/ns/net" } }, () => end.promise),
  );
  await vi.advanceTimersByTimeAsync(5_000);
  expect(lines).toEqual([
    expect.objectContaining({
      operation: "cri.RunPodSandbox",
      sandbox: "web",
      alsoAtWork: "cni.ADD plugin=bridge netns=/ns/net",
    }),
    expect.objectContaining({ operation: "cni.ADD", plugin: "bridge" }),
  ]);
  expect(stages.health()).toBeUndefined();
  await vi.advanceTimersByTimeAsync(6_000);
  expect(stages.health()).toMatch(/^cri\.RunPodSandbox sandbox=web has not ended for 10 s/);
  end.resolve();
  await call;
  expect(stages.health()).toBeUndefined();
  expect(stages.open()).toEqual([]);
});

test.each(["cri.PullImage", "cri.ExecSync", "runtime.exec", "cri.GetContainerEvents", "registry.GET"])(
  "%s may take as long as it wants",
  async name => {
    const { lines, stages } = watch();
    using _stages = stages;
    const end = Promise.withResolvers<void>();
    const work = traced({ name, attributes: {} }, () => end.promise);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(lines).toEqual([]);
    expect(stages.health()).toBeUndefined();
    end.resolve();
    await work;
  },
);
