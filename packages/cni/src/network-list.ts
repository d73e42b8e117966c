import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";

/** A plugin's part of a network configuration; unknown keys are the plugin's own. */
export interface PluginConfig {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>>;
  readonly [key: string]: unknown;
}

/** A network: plugins that are called one after the other (CNI spec, section 1). */
export interface NetworkList {
  readonly name: string;
  readonly cniVersion: string;
  readonly plugins: readonly PluginConfig[];
  readonly file: string;
}

const maxBytes = 1024 * 1024;
const supported = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/** The network to use: the first valid file of the directory by name, `.conflist`, `.conf` or `.json`. UNAVAILABLE says what is missing. */
export function loadNetwork(directory: string): NetworkList {
  const names = existsSync(directory)
    ? readdirSync(directory)
        .filter(name => /\.(conflist|conf|json)$/.test(name))
        .sort()
    : [];
  const problems: string[] = [];
  for (const name of names) {
    try {
      return readNetwork(join(directory, name));
    } catch (error) {
      problems.push((error as Error).message);
    }
  }
  const what =
    problems.length > 0
      ? `no valid network configuration in ${directory}: ${problems.join("; ")}`
      : `no network configuration in ${directory}; install a network add-on or put a .conflist file there`;
  throw new OcidError("UNAVAILABLE", what, { reason: "NetworkNotReady" });
}

export function readNetwork(file: string): NetworkList {
  let value: unknown;
  try {
    const text = readFileSync(file);
    if (text.byteLength > maxBytes)
      throw new OcidError("RESOURCE_EXHAUSTED", `it has more than ${maxBytes} bytes`);
    value = JSON.parse(text.toString());
  } catch (error) {
    throw wrapError(`read ${file}`, error, "INVALID_ARGUMENT");
  }
  return parseNetwork(value, file);
}

export function parseNetwork(value: unknown, file: string): NetworkList {
  const invalid = (what: string) => new OcidError("INVALID_ARGUMENT", `${file}: ${what}`);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid("is not a JSON object");
  const { name, cniVersion = "0.3.1", plugins, type } = value as Record<string, unknown>;
  if (typeof name !== "string" || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name))
    throw invalid("the network needs a name of letters, digits, _ . and -");
  if (typeof cniVersion !== "string" || !supported.includes(cniVersion))
    throw invalid(
      `cniVersion ${JSON.stringify(cniVersion)} is not supported (there are ${supported.join(", ")})`,
    );
  // A file with one plugin is a list of one.
  const list = Array.isArray(plugins) ? plugins : typeof type === "string" ? [value] : [];
  if (list.length === 0) throw invalid("names no plugins");
  for (const plugin of list) {
    const kind = (plugin as Record<string, unknown> | null)?.["type"];
    if (typeof kind !== "string" || kind === "" || kind.includes("/"))
      throw invalid("a plugin needs a type, the name of its program");
  }
  return { name, cniVersion, plugins: list as PluginConfig[], file };
}
