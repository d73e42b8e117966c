import { create } from "@bufbuild/protobuf";
import { LinuxContainerResourcesSchema } from "@ocid/cri-api";
import { expect, test } from "vitest";
import { together } from "./sandbox-resources.ts";

const limits = (fields: object) => create(LinuxContainerResourcesSchema, fields);

test("a pod's limits are those of its containers and its overhead", () => {
  const both = together(
    limits({ memoryLimitInBytes: 10n, cpuQuota: 5_000n, cpuPeriod: 50_000n, cpuShares: 2n }),
    limits({ memoryLimitInBytes: 100n, cpuQuota: 20_000n, cpuPeriod: 100_000n, cpuShares: 512n }),
  );
  expect(both).toMatchObject({
    memoryLimitInBytes: 110n,
    cpuQuota: 30_000n,
    cpuPeriod: 100_000n,
    cpuShares: 514n,
  });
});

test("without a limit there is none, whatever the overhead", () => {
  const overhead = limits({ memoryLimitInBytes: 10n, cpuQuota: 5_000n });
  expect(together(overhead, limits({ memoryLimitInBytes: 0n, cpuQuota: -1n }))).toMatchObject({
    memoryLimitInBytes: 0n,
    cpuQuota: -1n,
  });
  expect(together(overhead, undefined).memoryLimitInBytes).toBe(0n);
  expect(together(undefined, limits({ memoryLimitInBytes: 7n })).memoryLimitInBytes).toBe(7n);
});
