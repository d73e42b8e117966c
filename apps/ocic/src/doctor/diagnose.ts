import { setTimeout as sleep } from "node:timers/promises";
import { cleanEnvironment, findExecutable, runProcess } from "@ocid/host";
import { accessFindings } from "./checks/access.ts";
import { configFindings, daemonFindings } from "./checks/daemon.ts";
import { leftovers } from "./checks/leftovers.ts";
import { kernelFindings, programFindings, readKernelState, spaceFindings } from "./checks/node.ts";
import { storeFindings } from "./checks/store.ts";
import type { Diagnosis } from "./finding.ts";
import { readNodeState } from "./node-state.ts";
import { readRecords } from "./records.ts";
import type { KnownDaemon } from "./settings.ts";

/** What is being removed at this moment looks like a leftover, and is gone after so long. */
const secondLookMs = 1_000;

/** Everything that is wrong with the node. While the daemon works, leftovers count when they are seen twice. */
export async function diagnose(daemon: KnownDaemon): Promise<readonly Diagnosis[]> {
  const first = await findLeftovers(daemon);
  let certain = first;
  if (first.length > 0 && daemon.running) {
    await sleep(secondLookMs);
    const again = new Set((await findLeftovers(daemon)).map(({ what }) => what));
    certain = first.filter(({ what }) => again.has(what));
  }
  const { settings, program, mistakes } = daemon;
  const { network, ownDaemons } = readNodeState(daemon, "");
  const plugins = network?.plugins.flatMap(({ type, ipam }) => {
    const addresses = (ipam as { readonly type?: unknown } | undefined)?.type;
    return typeof addresses === "string" ? [type, addresses] : [type];
  });
  return [
    ...configFindings(mistakes),
    ...daemonFindings(settings.stateDir, ownDaemons),
    ...programFindings({
      ocid: program,
      conmon: settings.conmon,
      runtimes: settings.runtimes,
      plugins,
      pluginDirs: settings.cniPluginDirs,
      configDir: settings.cniConfigDir,
    }),
    ...kernelFindings(readKernelState()),
    ...spaceFindings([
      settings.root,
      ...(settings.imageStore === undefined ? [] : [settings.imageStore]),
      settings.runRoot,
      settings.stateDir,
    ]),
    ...accessFindings(settings.stateDir, settings.socket),
    ...certain,
  ];
}

async function findLeftovers(daemon: KnownDaemon): Promise<readonly Diagnosis[]> {
  const { settings } = daemon;
  return [
    ...leftovers(readNodeState(daemon, await portRules())),
    ...(await storeFindings(settings, () => readRecords(settings.stateDir))),
  ];
}

/** The nat tables in the form of iptables-save(8); empty without the programs. */
async function portRules(): Promise<string> {
  const texts = await Promise.all(
    ["iptables-save", "ip6tables-save"].map(async name => {
      const path = findExecutable(name);
      if (path === undefined) return "";
      const { stdout } = await runProcess({
        path,
        args: ["-t", "nat"],
        env: cleanEnvironment(),
        timeoutMs: 20_000,
        // A node of a large cluster has many services.
        capBytes: 64 * 2 ** 20,
      });
      return stdout.toString();
    }),
  );
  return texts.join("\n");
}
