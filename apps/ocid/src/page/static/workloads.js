import { stateCell, textCell } from "./cells.js";
import { chartCell } from "./chart.js";
import { createTable } from "./table.js";
import { formatAge, formatBytes, formatPercent, formatRate, sum } from "./units.js";

/** @typedef {import("../sections.ts").ContainerRow & { use?: import("../sections.ts").ContainerUse | undefined, network?: import("../sections.ts").NetworkUse | undefined, at: number }} Container */
/** @typedef {import("../sections.ts").PodRow & { cpuPercent: number | null, memoryBytes: number }} Pod */

export const containers = createTable({
  id: "containers",
  empty: "No container is on this node.",
  key: (/** @type {Container} */ row) => row.id,
  find: row => [row.name, row.pod, row.image, row.id, row.state],
  sorted: [0, false],
  columns: [
    {
      title: "Container",
      kind: "main",
      sort: row => row.name,
      cell: textCell(
        row => row.name,
        row => row.pod,
      ),
    },
    {
      title: "Image",
      kind: "wide",
      sort: row => row.image,
      cell: textCell(
        row => row.image,
        row => row.id,
      ),
    },
    {
      title: "State",
      kind: "state",
      sort: row => row.state,
      cell: stateCell(containerState, judgeContainer, row =>
        row.since === null ? "" : formatAge(row.since),
      ),
    },
    {
      title: "CPU",
      kind: "number",
      sort: row => row.use?.cpuPercent ?? -1,
      cell: chartCell({
        name: "cpu",
        least: 5,
        read: ({ use, at }) => use && { at, value: use.cpuPercent, texts: [formatPercent(use.cpuPercent)] },
      }),
    },
    {
      title: "Memory",
      kind: "number",
      sort: row => row.use?.memoryBytes ?? -1,
      cell: chartCell({
        name: "memory",
        least: 2 ** 20,
        read: ({ use, at }) =>
          use && {
            at,
            value: use.memoryBytes,
            texts: [
              formatBytes(use.memoryBytes),
              ...(use.memoryLimit === null ? [] : [`of ${formatBytes(use.memoryLimit)}`]),
            ],
          },
      }),
    },
    {
      title: "I/O",
      kind: "number",
      sort: row => sum(row.use?.readRate, row.use?.writeRate) ?? -1,
      cell: chartCell({
        name: "io",
        least: 1024,
        read: ({ use, at }) =>
          use && {
            at,
            value: sum(use.readRate, use.writeRate),
            texts: [`r ${formatRate(use.readRate)}`, `w ${formatRate(use.writeRate)}`],
          },
      }),
    },
    {
      title: "Pod’s network",
      kind: "number",
      sort: row => sum(row.network?.receiveRate, row.network?.sendRate) ?? -1,
      cell: chartCell({
        name: "network",
        least: 1024,
        read: ({ network, use, at }) =>
          use &&
          network && {
            at,
            value: sum(network.receiveRate, network.sendRate),
            texts: [`↓ ${formatRate(network.receiveRate)}`, `↑ ${formatRate(network.sendRate)}`],
          },
      }),
    },
  ],
});

export const pods = createTable({
  id: "pods",
  empty: "No pod is on this node.",
  key: (/** @type {Pod} */ row) => row.id,
  find: row => [row.name, row.namespace, row.id, row.state, ...row.addresses],
  sorted: [0, false],
  columns: [
    {
      title: "Pod",
      kind: "main",
      sort: row => row.name,
      cell: textCell(
        row => row.name,
        row => row.namespace,
      ),
    },
    {
      title: "State",
      kind: "state",
      sort: row => row.state,
      cell: stateCell(
        row => row.state,
        row => (row.state === "ready" ? "good" : "off"),
        row => formatAge(row.createdAt),
      ),
    },
    {
      title: "Address",
      sort: row => row.addresses[0] ?? "",
      cell: textCell(
        row => row.addresses[0] ?? "–",
        row => row.addresses.slice(1).join(" "),
      ),
    },
    {
      title: "Running",
      kind: "number",
      sort: row => row.running,
      cell: textCell(row => `${row.running} of ${row.containers}`),
    },
    {
      title: "CPU",
      kind: "number",
      sort: row => row.cpuPercent ?? -1,
      cell: textCell(row => formatPercent(row.cpuPercent)),
    },
    {
      title: "Memory",
      kind: "number",
      sort: row => row.memoryBytes,
      cell: textCell(row => formatBytes(row.memoryBytes)),
    },
    {
      title: "Runtime",
      sort: row => row.handler,
      cell: textCell(
        row => row.handler || "default",
        row => row.id,
      ),
    },
  ],
});

/** @param {Container} row */
function containerState({ state, exitCode, oomKilled }) {
  if (state !== "stopped") return state;
  return oomKilled ? "out of memory" : `exit ${exitCode}`;
}

/**
 * @param {Container} row
 * @returns {"good" | "bad" | "off"}
 */
function judgeContainer({ state, exitCode, oomKilled }) {
  if (state === "running") return "good";
  return state === "unknown" || oomKilled || (state === "stopped" && exitCode !== 0) ? "bad" : "off";
}
