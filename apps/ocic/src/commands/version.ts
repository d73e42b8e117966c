import type { Command } from "commander";
import { type GlobalOptions, runtimeClient, usesDaemon } from "../global-options.ts";
import { printResult } from "../output/output.ts";
import { version } from "../version.ts";

export function addVersionCommand(program: Command): void {
  program
    .command("version")
    .description("show the versions of ocic and, where one runs, of the daemon")
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const daemon = usesDaemon(options) ? await daemonVersion(options) : undefined;
      printResult(
        options.json ?? false,
        { version, daemon },
        () => `ocic ${version}\n${daemon ? `${daemon.name} ${daemon.version}, CRI ${daemon.api}\n` : ""}`,
      );
    });
}

async function daemonVersion(
  options: GlobalOptions,
): Promise<{ readonly name: string; readonly version: string; readonly api: string }> {
  using client = await runtimeClient(options);
  const { runtimeName, runtimeVersion, runtimeApiVersion } = await client.version({}, { timeoutMs: 5_000 });
  return { name: runtimeName, version: runtimeVersion, api: runtimeApiVersion };
}
