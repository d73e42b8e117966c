import { resolve } from "node:path";
import { ContainerEventType } from "@ocid/cri-api";
import type { Command } from "commander";
import { type GlobalOptions, runtimeClient } from "../global-options.ts";
import { print, printResult } from "../output/output.ts";
import { table } from "../output/table.ts";
import { shortId } from "../output/units.ts";

/** What the daemon itself is asked and told. */
export function addDaemonCommands(program: Command): void {
  program
    .command("info")
    .description("whether the daemon is ready, its runtimes and what they can do")
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      using client = await runtimeClient(options);
      const { status, runtimeHandlers, features, info } = await client.status({ verbose: true });
      const parsed = Object.fromEntries(Object.entries(info).map(([key, text]) => [key, JSON.parse(text)]));
      const answer = { conditions: status?.conditions ?? [], runtimeHandlers, features, ...parsed };
      printResult(options.json ?? false, answer, () => {
        const conditions = answer.conditions.map(one => [one.type, one.status ? "yes" : "no", one.message]);
        const handlers = runtimeHandlers.map(({ name, features: can }) => [
          name || "(default)",
          can?.recursiveReadOnlyMounts ? "yes" : "no",
          can?.userNamespaces ? "yes" : "no",
        ]);
        return [
          table(["condition", "met", "message"], conditions),
          table(["runtime", "recursive read-only", "user namespaces"], handlers),
        ].join("\n");
      });
    });
  program
    .command("events")
    .description("what happens to containers from now on")
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      using client = await runtimeClient(options);
      const controller = new AbortController();
      const stop = () => controller.abort();
      process.once("SIGINT", stop).once("SIGTERM", stop);
      try {
        for await (const event of client.getContainerEvents({}, { signal: controller.signal })) {
          if (options.json) {
            print(
              `${JSON.stringify(event, (_, item) => (typeof item === "bigint" ? item.toString() : item))}\n`,
            );
            continue;
          }
          const pod = event.podSandboxStatus?.metadata;
          const own = event.containersStatuses.find(({ id }) => id === event.containerId);
          const what =
            own?.metadata?.name ?? (event.podSandboxStatus?.id === event.containerId ? "(pod)" : "");
          const when = new Date(Number(event.createdAt / 1_000_000n)).toISOString();
          const name =
            ContainerEventType[event.containerEventType]?.replace(/^CONTAINER_|_EVENT$/g, "") ?? "";
          print(
            `${when}  ${name.toLowerCase().padEnd(7)}  ${shortId(event.containerId)}  ${pod?.namespace ?? ""}/${pod?.name ?? ""}  ${what}\n`,
          );
        }
      } catch (error) {
        if (!controller.signal.aborted) throw error;
      }
    });
  program
    .command("checkpoint <container>")
    .description("write a running container, its memory and its changes to an archive; it goes on")
    .requiredOption("--export <file>", "the archive to write, on the daemon's machine")
    .option("--timeout <seconds>", "give up after so long", "0")
    .action(async (id: string, flags: { export: string; timeout: string }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      using client = await runtimeClient(options);
      const location = resolve(flags.export);
      await client.checkpointContainer({ containerId: id, location, timeout: BigInt(flags.timeout) });
      printResult(options.json ?? false, { containerId: id, location }, () => `${location}\n`);
    });
  program
    .command("update-runtime-config <pod-cidr>")
    .description("tell the daemon the pods' address ranges: one, or an IPv4 and an IPv6 one with a comma")
    .action(async (podCidr: string, _, command: Command) => {
      using client = await runtimeClient(command.optsWithGlobals<GlobalOptions>());
      await client.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr } } });
    });
}
