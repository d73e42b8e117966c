import {
  accessSync,
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
} from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { type Logger, OcidError } from "@ocid/base";
import { type SpawnedProcess, spawnProcess } from "@ocid/host";

const maxConfigBytes = 1024 * 1024;

export interface InstalledPlugin {
  readonly path: string;
  readonly index: string;
  readonly base: string;
}

/** Programs named `NN-name` in a directory, in their order; a directory that is missing has none. */
export function findPlugins(directory: string, logger: Logger): readonly InstalledPlugin[] {
  let names: readonly string[];
  try {
    names = readdirSync(directory).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names.flatMap(name => {
    const path = join(directory, name);
    if (!isProgram(path)) return [];
    const [, index, base] = /^(\d\d)-([\w.+-]{1,128})$/.exec(name) ?? [];
    if (index === undefined || base === undefined) {
      logger.warn("not the name of a plugin (two digits, a dash, a name); it is not started", { path });
      return [];
    }
    if (isWasm(path)) {
      logger.warn("plugins in WebAssembly are not supported; it is not started", { path });
      return [];
    }
    return [{ path, index, base }];
  });
}

/** Starts a plugin with one end of a socket as its descriptor 3. */
export function launchPlugin({ path, index, base }: InstalledPlugin): {
  readonly process: SpawnedProcess;
  readonly trunk: Socket;
} {
  const process = spawnProcess({
    path,
    argv: [path],
    env: { NRI_PLUGIN_NAME: base, NRI_PLUGIN_IDX: index, NRI_PLUGIN_SOCKET: "3" },
    stdio: ["ignore", "ignore", "ignore", "socket"],
  });
  return { process, trunk: process.stdio[3]! };
}

/** A plugin's configuration: `NN-name.conf`, or `name.conf`; empty where there is neither. */
export function pluginConfig(directory: string, index: string, base: string): string {
  for (const name of [`${index}-${base}.conf`, `${base}.conf`]) {
    const path = join(directory, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (!stat?.isFile()) continue;
    if (stat.size > maxConfigBytes)
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `${path} has ${stat.size} bytes, more than ${maxConfigBytes}`,
      );
    return readFileSync(path, "utf8");
  }
  return "";
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function isWasm(path: string): boolean {
  const head = Buffer.alloc(4);
  const fd = openSync(path, "r");
  try {
    return readSync(fd, head) === 4 && head.equals(Buffer.from("\0asm"));
  } finally {
    closeSync(fd);
  }
}
