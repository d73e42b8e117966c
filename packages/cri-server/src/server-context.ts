import { type KeyedLock, type Logger, randomHex } from "@ocid/base";
import type { CdiRegistry } from "./cdi/cdi-registry.ts";
import type { Creations } from "./creations.ts";
import type { HookRegistry } from "./oci-hooks/hook-registry.ts";
import type { PluginBridge } from "./plugins/plugin-bridge.ts";
import type { Ports } from "./ports.ts";
import type { Records } from "./records.ts";
import type { Workload } from "./workloads.ts";

/** What every handler works with. */
export interface ServerContext {
  readonly ports: Ports;
  readonly records: Records;
  readonly logger: Logger;
  readonly version: string;
  /** One operation at a time for a sandbox, a container, a name. */
  readonly locks: KeyedLock;
  readonly creations: Creations;
  readonly bootId: string;
  readonly cdi: CdiRegistry;
  readonly hooks: HookRegistry;
  readonly workloads: () => readonly Workload[];
  /** Told once of each container that has ended. */
  readonly onContainerEnd: (end: { readonly id: string; readonly oomKilled: boolean }) => void;
  /** Shown in the verbose status. */
  readonly configuration: object;
  readonly plugins: PluginBridge;
}

export function newId(): string {
  return randomHex(32);
}

export function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
