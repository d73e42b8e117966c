import { randomBytes } from "node:crypto";
import { ContainerState, NamespaceMode } from "@ocid/cri-api";
import type { Command } from "commander";
import { ExitWith } from "../exit-code.ts";
import { type GlobalOptions, imageClient, runtimeClient } from "../global-options.ts";
import { printResult } from "../output/output.ts";
import { followLog } from "./container-log.ts";

interface RunFlags {
  readonly detach?: boolean;
  readonly rm?: boolean;
  readonly name?: string;
  readonly net: string;
  readonly logDir: string;
  readonly env?: readonly string[];
}

export function addRunCommand(program: Command): void {
  program
    .command("run <image> [command...]")
    .description("run a container in a pod of its own, and show its output until it ends")
    .option("-d, --detach", "leave it running and print its id")
    .option("--rm", "remove the pod when the container has ended")
    .option("--name <name>", "name of the pod and the container")
    .option("--net <mode>", "pod (its own, through CNI) or host", "pod")
    .option("--log-dir <dir>", "where the log is kept", "/var/log/ocic")
    .option("-e, --env <name=value...>", "environment variables")
    .passThroughOptions()
    .action(run);
}

async function run(image: string, argv: string[], flags: RunFlags, command: Command): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions>();
  using client = await runtimeClient(options);
  using images = await imageClient(options);
  if (!(await images.imageStatus({ image: { image } })).image) await images.pullImage({ image: { image } });
  const name = flags.name ?? `ocic-${randomBytes(4).toString("hex")}`;
  const network = flags.net === "host" ? NamespaceMode.NODE : NamespaceMode.POD;
  const sandboxConfig = {
    metadata: { name, namespace: "default", uid: randomBytes(8).toString("hex"), attempt: 0 },
    logDirectory: `${flags.logDir}/${name}`,
    linux: { securityContext: { namespaceOptions: { network, pid: NamespaceMode.CONTAINER } } },
  };
  const { podSandboxId } = await client.runPodSandbox({ config: sandboxConfig });
  try {
    const envs = (flags.env ?? []).map(entry => ({
      key: entry.split("=", 1)[0]!,
      value: Buffer.from(entry.slice(entry.indexOf("=") + 1)),
    }));
    const config = {
      metadata: { name, attempt: 0 },
      image: { image },
      ...(argv.length > 0 ? { command: argv } : {}),
      envs,
      logPath: `${name}.log`,
      linux: {},
    };
    const { containerId } = await client.createContainer({ podSandboxId, sandboxConfig, config });
    await client.startContainer({ containerId });
    if (flags.detach)
      return printResult(options.json ?? false, { podSandboxId, containerId }, () => `${containerId}\n`);
    const status = async () => (await client.containerStatus({ containerId })).status;
    await followLog(
      `${sandboxConfig.logDirectory}/${name}.log`,
      async () => (await status())?.state === ContainerState.CONTAINER_RUNNING,
    );
    const exitCode = (await status())?.exitCode ?? 1;
    if (flags.rm) await client.removePodSandbox({ podSandboxId });
    if (exitCode !== 0) throw new ExitWith(exitCode);
  } catch (error) {
    // What could not be run is not left lying about.
    if (!(error instanceof ExitWith)) await client.removePodSandbox({ podSandboxId });
    throw error;
  }
}
