import type { UsageOverview } from "@ocid/cri-server";
import { shortId } from "./rows.ts";
import type { ContainerUse, NetworkUse, UsageSection } from "./sections.ts";

interface Counters {
  readonly atNs: bigint;
  readonly values: readonly bigint[];
}

/** Makes rates of counters, from one look to the next. What is new, or has begun again, has none yet. */
export class UsageRates {
  #before = new Map<string, Counters>();

  /** `atNs` is when the networks' counters were read. */
  take({ containers, networks }: UsageOverview, atNs: bigint): UsageSection {
    const now = new Map<string, Counters>();
    const rates = (id: string, counters: Counters): readonly (number | null)[] => {
      now.set(id, counters);
      const before = this.#before.get(id);
      const elapsed = before ? Number(counters.atNs - before.atNs) / 1e9 : 0;
      return counters.values.map((value, at) => {
        const grown = before === undefined ? 0 : Number(value - before.values[at]!);
        return elapsed > 0 && grown >= 0 ? grown / elapsed : null;
      });
    };
    const uses = [...containers].map(([id, usage]): [string, ContainerUse] => {
      const { timestampNs, cpuUsageNs, memoryWorkingSetBytes, memoryAvailableBytes, io } = usage;
      const values = [cpuUsageNs, ...(io ? [io.readBytes, io.writeBytes] : [])];
      const [cpu = null, readRate = null, writeRate = null] = rates(id, { atNs: timestampNs, values });
      return [
        shortId(id),
        {
          cpuPercent: cpu === null ? null : cpu / 1e7,
          memoryBytes: Number(memoryWorkingSetBytes),
          memoryLimit:
            memoryAvailableBytes === undefined ? null : Number(memoryWorkingSetBytes + memoryAvailableBytes),
          readRate,
          writeRate,
        },
      ];
    });
    const nets = [...networks].map(([id, interfaces]): [string, NetworkUse] => {
      const sum = (key: "rxBytes" | "txBytes") => interfaces.reduce((total, { [key]: n }) => total + n, 0n);
      const values = [sum("rxBytes"), sum("txBytes")];
      const [receiveRate = null, sendRate = null] = rates(id, { atNs, values });
      return [shortId(id), { receiveRate, sendRate }];
    });
    this.#before = now;
    return {
      at: Number(atNs / 1_000_000n),
      containers: Object.fromEntries(uses),
      networks: Object.fromEntries(nets),
    };
  }

  /** The next look is a first one. */
  forget(): void {
    this.#before.clear();
  }
}
