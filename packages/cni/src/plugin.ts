import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { OcidError, traced } from "@ocid/base";
import { cleanEnvironment, runProcess } from "@ocid/host";

export type Command = "ADD" | "DEL" | "CHECK" | "STATUS";

/** What a plugin is called with (CNI spec, section 2, "Parameters"). */
export interface Attachment {
  readonly containerId: string;
  readonly netns: string;
  readonly interfaceName: string;
  /** CNI_ARGS. */
  readonly args: readonly (readonly [string, string])[];
}

const maxOutputBytes = 1024 * 1024;

export function findPlugin(type: string, directories: readonly string[]): string {
  for (const directory of directories) {
    const path = join(directory, type);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this directory.
    }
  }
  throw new OcidError(
    "FAILED_PRECONDITION",
    `CNI plugin ${type} is not in ${directories.join(" or ")}; install it, or set network.plugin_dirs`,
    { reason: "PluginMissing" },
  );
}

/** Runs a plugin once. Its own error becomes ours, with its message. */
export async function runPlugin(
  path: string,
  command: Command,
  config: object,
  attachment: Attachment,
  pluginDirectories: readonly string[],
  signal: AbortSignal | undefined,
): Promise<unknown> {
  const type = path.slice(path.lastIndexOf("/") + 1);
  const attributes = { plugin: type, container: attachment.containerId, netns: attachment.netns };
  const request = {
    path,
    args: [],
    env: {
      ...cleanEnvironment(),
      CNI_COMMAND: command,
      CNI_CONTAINERID: attachment.containerId,
      CNI_NETNS: attachment.netns,
      CNI_IFNAME: attachment.interfaceName,
      CNI_ARGS: attachment.args.map(([key, value]) => `${key}=${value}`).join(";"),
      CNI_PATH: pluginDirectories.join(":"),
    },
    stdin: JSON.stringify(config),
    capBytes: maxOutputBytes,
    timeoutMs: 120_000,
    signal,
  };
  const result = await traced({ name: `cni.${command}`, attributes }, () => runProcess(request));
  const output = result.stdout.toString();
  if (result.code === 0) return output.trim() === "" ? undefined : parse(output, type);
  const failure = tryParse(output) as { code?: unknown; msg?: unknown; details?: unknown } | undefined;
  const said =
    failure && typeof failure.msg === "string"
      ? [failure.msg, failure.details].filter(Boolean).join(": ")
      : result.stderr.toString().trim().slice(-500) || `${result.signal ?? `exit code ${result.code}`}`;
  // Code 11: try again later; 50 and 51: not available (CNI spec, section 5, "Error").
  const code =
    failure?.code === 11 || failure?.code === 50 || failure?.code === 51 ? "UNAVAILABLE" : "INTERNAL";
  throw new OcidError(code, `CNI plugin ${type} failed to ${command}: ${said}`, {
    reason: "PluginFailed",
    ...(typeof failure?.code === "number" ? { details: { cniCode: failure.code } } : {}),
  });
}

function parse(output: string, type: string): unknown {
  const value = tryParse(output);
  if (value === undefined)
    throw new OcidError(
      "INTERNAL",
      `CNI plugin ${type} answered with something that is not JSON: ${JSON.stringify(output.slice(0, 100))}`,
    );
  return value;
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
