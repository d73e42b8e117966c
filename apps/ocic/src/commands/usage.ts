import { setTimeout as sleep } from "node:timers/promises";
import type { Metric, PodSandboxStats } from "@ocid/cri-api";
import type { Command } from "commander";
import { type GlobalOptions, runtimeClient } from "../global-options.ts";
import { printRows } from "../output/output.ts";
import { formatBytes, shortId } from "../output/units.ts";

/** What containers and pods use. */
export function addUsageCommands(program: Command): void {
  program
    .command("stats [container]")
    .description("what running containers use")
    .option("--seconds <n>", "time over which the CPU is measured", "1")
    .action(async (id: string | undefined, flags: { seconds: string }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      using client = await runtimeClient(options);
      const look = async () =>
        id === undefined
          ? (await client.listContainerStats({})).stats
          : [(await client.containerStats({ containerId: id })).stats!];
      const [before, stats] = await lookTwice(look, flags.seconds);
      const rows = stats.map(one => [
        shortId(one.attributes?.id ?? ""),
        one.attributes?.metadata?.name ?? "",
        percent(before.find(other => other.attributes?.id === one.attributes?.id)?.cpu, one.cpu),
        bytes(one.memory?.workingSetBytes),
        bytes(one.writableLayer?.usedBytes),
        String(one.writableLayer?.inodesUsed?.value ?? ""),
        bytes(one.swap?.swapUsageBytes),
      ]);
      const headings = ["container id", "name", "cpu %", "memory", "disk", "inodes", "swap"];
      printRows(options.json ?? false, stats, headings, rows);
    });
  program
    .command("statsp [pod]")
    .description("what pods use")
    .option("--seconds <n>", "time over which the CPU is measured", "1")
    .action(async (id: string | undefined, flags: { seconds: string }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      using client = await runtimeClient(options);
      const look = async () =>
        id === undefined
          ? (await client.listPodSandboxStats({})).stats
          : [(await client.podSandboxStats({ podSandboxId: id })).stats!];
      const [before, stats] = await lookTwice(look, flags.seconds);
      const rows = stats.map(one => podRow(before, one));
      const headings = ["pod id", "name", "namespace", "cpu %", "memory", "tasks", "received", "sent"];
      printRows(options.json ?? false, stats, headings, rows);
    });
  program
    .command("metrics [pod]")
    .description("metrics of pods and their containers, as the kubelet gets them")
    .action(async (id: string | undefined, _, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      using client = await runtimeClient(options);
      const [{ descriptors }, { podMetrics }] = await Promise.all([
        client.listMetricDescriptors({}),
        client.listPodSandboxMetrics({}),
      ]);
      const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys]));
      const wanted = podMetrics.filter(({ podSandboxId }) => podSandboxId.startsWith(id ?? ""));
      const rows = wanted
        .flatMap(pod => [...pod.metrics, ...pod.containerMetrics.flatMap(({ metrics }) => metrics)])
        .map(metric => [
          metric.name,
          String(metric.value?.value ?? 0n),
          labels(metric, keys.get(metric.name)),
        ]);
      printRows(options.json ?? false, wanted, ["metric", "value", "labels"], rows);
    });
  program
    .command("metricdescs")
    .description("metrics that there are, and their labels")
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      using client = await runtimeClient(options);
      const { descriptors } = await client.listMetricDescriptors({});
      const rows = descriptors.map(({ name, help, labelKeys }) => [name, labelKeys.join(","), help]);
      printRows(options.json ?? false, descriptors, ["metric", "labels", "meaning"], rows);
    });
}

async function lookTwice<T>(look: () => Promise<T>, seconds: string): Promise<readonly [T, T]> {
  const before = await look();
  await sleep(Math.max(0, Number(seconds) || 0) * 1000);
  return [before, await look()];
}

interface Cpu {
  readonly timestamp: bigint;
  readonly usageCoreNanoSeconds?: { readonly value: bigint } | undefined;
}

/** Of one processor, between two looks. */
export function percent(before: Cpu | undefined, after: Cpu | undefined): string {
  const elapsed = Number((after?.timestamp ?? 0n) - (before?.timestamp ?? 0n));
  const used = (after?.usageCoreNanoSeconds?.value ?? 0n) - (before?.usageCoreNanoSeconds?.value ?? 0n);
  return before && elapsed > 0 ? ((Number(used) / elapsed) * 100).toFixed(2) : "";
}

function podRow(before: readonly PodSandboxStats[], { attributes, linux }: PodSandboxStats): string[] {
  const earlier = before.find(other => other.attributes?.id === attributes?.id);
  return [
    shortId(attributes?.id ?? ""),
    attributes?.metadata?.name ?? "",
    attributes?.metadata?.namespace ?? "",
    percent(earlier?.linux?.cpu, linux?.cpu),
    bytes(linux?.memory?.workingSetBytes),
    String(linux?.process?.processCount?.value ?? ""),
    bytes(linux?.network?.defaultInterface?.rxBytes),
    bytes(linux?.network?.defaultInterface?.txBytes),
  ];
}

function bytes(value: { readonly value: bigint } | undefined): string {
  return value === undefined ? "" : formatBytes(Number(value.value));
}

function labels(metric: Metric, keys: readonly string[] = []): string {
  return keys
    .map((key, at) => [key, metric.labelValues[at] ?? ""] as const)
    .filter(([key, value]) => value !== "" && key !== "id" && key !== "name")
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}
