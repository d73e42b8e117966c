import { OcidError } from "@ocid/base";
import { ContainerState, PodSandboxState } from "@ocid/cri-api";
import type { Command } from "commander";
import { ExitWith } from "../exit-code.ts";
import { type GlobalOptions, runtimeClient } from "../global-options.ts";
import { print, printRows, writeAll } from "../output/output.ts";
import { formatAge, shortId } from "../output/units.ts";
import { followLog, printLog } from "./container-log.ts";
import { execInteractively } from "./sessions.ts";

/** Pods and containers of the daemon. */
export function addPodCommands(program: Command): void {
  program
    .command("pods")
    .description("list pods")
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      using client = await runtimeClient(options);
      const { items } = await client.listPodSandbox({});
      const rows = items.map(pod => [
        shortId(pod.id),
        pod.metadata?.name ?? "",
        pod.metadata?.namespace ?? "",
        pod.state === PodSandboxState.SANDBOX_READY ? "ready" : "stopped",
        ageOf(pod.createdAt),
      ]);
      printRows(options.json ?? false, items, ["pod id", "name", "namespace", "state", "created"], rows);
    });
  program
    .command("ps")
    .description("list containers that run")
    .option("-a, --all", "those that have ended too")
    .action(async (flags: { all?: boolean }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      using client = await runtimeClient(options);
      const { containers } = await client.listContainers(
        flags.all ? {} : { filter: { state: { state: ContainerState.CONTAINER_RUNNING } } },
      );
      const rows = containers.map(container => [
        shortId(container.id),
        container.metadata?.name ?? "",
        container.image?.image ?? "",
        stateName(container.state),
        ageOf(container.createdAt),
        shortId(container.podSandboxId),
      ]);
      printRows(
        options.json ?? false,
        containers,
        ["container id", "name", "image", "state", "created", "pod id"],
        rows,
      );
    });
  program
    .command("logs <container>")
    .description("show a container's output")
    .option("-f, --follow", "go on until it ends")
    .action(async (id: string, flags: { follow?: boolean }, command: Command) => {
      using client = await runtimeClient(command.optsWithGlobals<GlobalOptions>());
      const { status } = await client.containerStatus({ containerId: id });
      if (!status?.logPath) throw new OcidError("FAILED_PRECONDITION", `container ${id} has no log`);
      if (!flags.follow) return printLog(status.logPath);
      await followLog(
        status.logPath,
        async () =>
          (await client.containerStatus({ containerId: id })).status?.state ===
          ContainerState.CONTAINER_RUNNING,
      );
    });
  program
    .command("exec <container> <command...>")
    .description("run a command in a container; ends with its exit code")
    .option("--timeout <seconds>", "end it after so long", "0")
    .option("-i, --interactive", "send this terminal's input")
    .option("-t, --tty", "give it a terminal")
    .passThroughOptions()
    .action(async (id: string, argv: string[], flags: ExecFlags, command: Command) => {
      if (flags.interactive || flags.tty)
        return await execInteractively(id, argv, flags, command.optsWithGlobals<GlobalOptions>());
      using client = await runtimeClient(command.optsWithGlobals<GlobalOptions>());
      const { stdout, stderr, exitCode } = await client.execSync({
        containerId: id,
        cmd: argv,
        timeout: seconds(flags.timeout),
      });
      writeAll(1, stdout);
      writeAll(2, stderr);
      if (exitCode !== 0) throw new ExitWith(exitCode);
    });
  program
    .command("stop <ids...>")
    .description("stop pods or containers")
    .option("-t, --timeout <seconds>", "time for a container to end by itself", "10")
    .action((ids: string[], flags: { timeout: string }, command: Command) =>
      each(ids, command, "stopped", (client, found) =>
        found.kind === "pod"
          ? client.stopPodSandbox({ podSandboxId: found.id })
          : client.stopContainer({ containerId: found.id, timeout: seconds(flags.timeout) }),
      ),
    );
  program
    .command("rm <ids...>")
    .description("remove pods, with their containers, or containers")
    .action((ids: string[], _, command: Command) =>
      each(ids, command, "removed", (client, found) =>
        found.kind === "pod"
          ? client.removePodSandbox({ podSandboxId: found.id })
          : client.removeContainer({ containerId: found.id }),
      ),
    );
}

interface ExecFlags {
  readonly timeout: string;
  readonly interactive?: boolean;
  readonly tty?: boolean;
}

interface Found {
  readonly kind: "pod" | "container";
  readonly id: string;
}

async function each(
  ids: readonly string[],
  command: Command,
  done: string,
  work: (client: Awaited<ReturnType<typeof runtimeClient>>, found: Found) => Promise<unknown>,
): Promise<void> {
  using client = await runtimeClient(command.optsWithGlobals<GlobalOptions>());
  const pods = (await client.listPodSandbox({})).items;
  const containers = (await client.listContainers({})).containers;
  for (const text of ids) {
    const container = containers.find(candidate => candidate.id.startsWith(text));
    const pod = pods.find(candidate => candidate.id.startsWith(text) || candidate.metadata?.name === text);
    const found: Found | undefined = container
      ? { kind: "container", id: container.id }
      : pod && { kind: "pod", id: pod.id };
    if (!found) throw new OcidError("NOT_FOUND", `there is no pod or container ${text}`);
    await work(client, found);
    print(`${done} ${found.kind} ${shortId(found.id)}\n`);
  }
}

function seconds(text: string): bigint {
  if (!/^\d{1,9}$/.test(text))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `--timeout should be a number of seconds, found ${JSON.stringify(text)}`,
    );
  return BigInt(text);
}

function ageOf(createdAtNs: bigint): string {
  return formatAge(new Date(Number(createdAtNs / 1_000_000n)));
}

function stateName(state: ContainerState): string {
  return ContainerState[state]?.replace("CONTAINER_", "").toLowerCase() ?? "unknown";
}
