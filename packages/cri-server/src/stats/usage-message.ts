import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  CpuUsageSchema,
  IoUsageSchema,
  MemoryUsageSchema,
  PsiDataSchema,
  PsiStatsSchema,
  SwapUsageSchema,
} from "@ocid/cri-api";
import type { ContainerUsage, Pressure, PressureLine } from "../ports.ts";

interface UsageMessages {
  readonly cpu: MessageInitShape<typeof CpuUsageSchema>;
  readonly memory: MessageInitShape<typeof MemoryUsageSchema>;
  readonly swap?: MessageInitShape<typeof SwapUsageSchema>;
  readonly io?: MessageInitShape<typeof IoUsageSchema>;
}

/** Usage as the CRI's statistics have it; what the kernel does not say is left out. */
export function usageMessages(usage: ContainerUsage): UsageMessages {
  const timestamp = usage.timestampNs;
  const { cpu, memory, io } = usage.pressure;
  return {
    cpu: {
      timestamp,
      usageCoreNanoSeconds: { value: usage.cpuUsageNs },
      ...optional("usageNanoCores", usage.cpuNanoCores),
      ...(cpu ? { psi: psiStats(cpu) } : {}),
    },
    memory: {
      timestamp,
      workingSetBytes: { value: usage.memoryWorkingSetBytes },
      ...optional("availableBytes", usage.memoryAvailableBytes),
      usageBytes: { value: usage.memoryUsageBytes },
      rssBytes: { value: usage.memoryRssBytes },
      pageFaults: { value: usage.memoryPageFaults },
      majorPageFaults: { value: usage.memoryMajorPageFaults },
      ...(memory ? { psi: psiStats(memory) } : {}),
    },
    ...(usage.swapUsageBytes === undefined
      ? {}
      : {
          swap: {
            timestamp,
            swapUsageBytes: { value: usage.swapUsageBytes },
            ...optional("swapAvailableBytes", usage.swapAvailableBytes),
          },
        }),
    ...(io ? { io: { timestamp, psi: psiStats(io) } } : {}),
  };
}

function optional<K extends string>(key: K, value: bigint | undefined): { [P in K]?: { value: bigint } } {
  return value === undefined ? {} : ({ [key]: { value } } as { [P in K]: { value: bigint } });
}

function psiStats({ some, full }: Pressure): MessageInitShape<typeof PsiStatsSchema> {
  return { Some: psiData(some), ...(full ? { Full: psiData(full) } : {}) };
}

/** The CRI counts nanoseconds, the kernel microseconds. */
function psiData(line: PressureLine): MessageInitShape<typeof PsiDataSchema> {
  return { Total: line.totalUs * 1000n, Avg10: line.avg10, Avg60: line.avg60, Avg300: line.avg300 };
}
