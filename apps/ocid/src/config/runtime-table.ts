import type { RuntimeConfig, Setting } from "./config-schema.ts";
import { fits, isTable, wanted } from "./config-value.ts";
import { nearestName } from "./nearest-name.ts";

type RuntimeKey = Pick<Setting, "type" | "choices" | "meaning">;

/** The keys of a table `[runtimes.NAME]`; `path` is the one that must be there. */
export const runtimeKeys: Readonly<Record<keyof RuntimeConfig, RuntimeKey>> = {
  path: { type: "string", meaning: "the OCI runtime: a path, or a name to be found in PATH" },
  type: {
    type: "string",
    choices: ["oci", "gvisor"],
    meaning: "gvisor for runsc under another name; by default what the program's name says",
  },
  root: { type: "string", meaning: "its own state directory; by default below the daemon's" },
  annotations: {
    type: "strings",
    meaning: "annotations of pods and containers that it is told: names, or beginnings with *",
  },
  args: {
    type: "strings",
    meaning: "arguments before each of its commands, for example --platform=systrap",
  },
  conmon: {
    type: "string",
    meaning:
      "the monitor of its containers: a path, or a name to be found in PATH; by default runtime.conmon",
  },
};

/** Reads a table `[runtimes.NAME]`. `key` of a problem is empty where it is about the whole table. */
export function parseRuntime(entry: unknown): {
  readonly runtime: RuntimeConfig;
  readonly problems: readonly { readonly key: string; readonly message: string }[];
} {
  const problems: { key: string; message: string }[] = [];
  const table = isTable(entry) ? entry : {};
  for (const [key, value] of Object.entries(table)) {
    const known = Object.hasOwn(runtimeKeys, key) ? runtimeKeys[key as keyof RuntimeConfig] : undefined;
    if (!known) {
      const near = nearestName(key, Object.keys(runtimeKeys));
      const advice = near ? `did you mean ${near}?` : `known: ${Object.keys(runtimeKeys).join(", ")}`;
      problems.push({ key, message: `unknown key ${key} (${advice})` });
      continue;
    }
    const setting: Setting = { key, ...known };
    if (!fits(setting, value))
      problems.push({ key, message: `${key}: expected ${wanted(setting)}, found ${JSON.stringify(value)}` });
  }
  if (!("path" in table))
    problems.push({ key: "", message: 'a runtime needs path = "/path/of/the/runtime"' });
  return { runtime: table as unknown as RuntimeConfig, problems };
}
