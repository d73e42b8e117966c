import { expect, test } from "vitest";
import { percent } from "./usage.ts";

const cpu = (timestamp: bigint, used: bigint) => ({ timestamp, usageCoreNanoSeconds: { value: used } });

test("the CPU is measured between two looks; one look, or one at the same time, tells nothing", () => {
  expect(percent(cpu(0n, 0n), cpu(2_000_000_000n, 500_000_000n))).toBe("25.00");
  expect(percent(cpu(0n, 0n), cpu(1_000_000_000n, 2_000_000_000n))).toBe("200.00");
  expect(percent(undefined, cpu(1n, 1n))).toBe("");
  expect(percent(cpu(1n, 1n), cpu(1n, 1n))).toBe("");
});
