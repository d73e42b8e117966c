import type { RuntimeSpec } from "@ocid/spec";
import type { Sandbox } from "../records.ts";
import type { PluginPort } from "./plugin-port.ts";

/** What is remembered for the sake of plugins, in memory only: a plugin that connects is told of all there is. */
export class PluginBridge {
  readonly port: PluginPort | undefined;
  /** Containers that are being made and of which plugins have heard, with their configuration. */
  readonly making: Map<string, RuntimeSpec> = new Map();
  /** Pods that are being made and of which plugins have heard. */
  readonly running: Set<Sandbox> = new Set();
  /** Containers whose end plugins have been told of, or are being told of. */
  readonly ended: Map<string, Promise<void>> = new Map();

  constructor(port: PluginPort | undefined) {
    this.port = port;
  }

  /** The port, when somebody wants to know. */
  get active(): PluginPort | undefined {
    return this.port?.active ? this.port : undefined;
  }
}
