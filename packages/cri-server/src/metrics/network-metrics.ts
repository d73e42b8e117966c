import { MetricType } from "@ocid/cri-api";
import type { NetworkInterfaceUsage } from "../ports.ts";
import type { MetricDefinition } from "./metric.ts";

const ofInterfaces = (
  name: string,
  help: string,
  value: (usage: NetworkInterfaceUsage) => bigint,
): MetricDefinition<readonly NetworkInterfaceUsage[]> => ({
  name: `container_network_${name}_total`,
  help,
  type: MetricType.COUNTER,
  labels: ["interface"],
  read: interfaces => interfaces.map(usage => [value(usage), usage.name]),
});

/** Metrics of a pod's network, by interface. */
export const networkMetrics: readonly MetricDefinition<readonly NetworkInterfaceUsage[]>[] = [
  ofInterfaces("receive_bytes", "Bytes received.", usage => usage.rxBytes),
  ofInterfaces("receive_packets", "Packets received.", usage => usage.rxPackets),
  ofInterfaces("receive_packets_dropped", "Packets dropped while receiving.", usage => usage.rxDropped),
  ofInterfaces("receive_errors", "Errors while receiving.", usage => usage.rxErrors),
  ofInterfaces("transmit_bytes", "Bytes sent.", usage => usage.txBytes),
  ofInterfaces("transmit_packets", "Packets sent.", usage => usage.txPackets),
  ofInterfaces("transmit_packets_dropped", "Packets dropped while sending.", usage => usage.txDropped),
  ofInterfaces("transmit_errors", "Errors while sending.", usage => usage.txErrors),
];
