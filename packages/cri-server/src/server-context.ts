import { randomBytes } from "node:crypto";
import type { KeyedLock, Logger } from "@ocid/base";
import type { CdiRegistry } from "./cdi/cdi-registry.ts";
import type { PluginBridge } from "./plugins/plugin-bridge.ts";
import type { Ports } from "./ports.ts";
import type { Records } from "./records.ts";

/** What every handler works with. */
export interface ServerContext {
  readonly ports: Ports;
  readonly records: Records;
  readonly logger: Logger;
  readonly version: string;
  /** One operation at a time for a sandbox, a container, a name. */
  readonly locks: KeyedLock;
  readonly bootId: string;
  readonly cdi: CdiRegistry;
  readonly plugins: PluginBridge;
}

export function newId(): string {
  return randomBytes(32).toString("hex");
}

export function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
