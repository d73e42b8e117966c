import { dirname, join } from "node:path";
import { messageOf, OcidError } from "@ocid/base";
import { cleanEnvironment, findExecutable, runProcess } from "@ocid/host";
import { findingRows, short } from "./rows.ts";
import type { DoctorSection } from "./sections.ts";

export interface DoctorRequest {
  /** The daemon's own socket and configuration file, so that it is this daemon that the doctor looks at. */
  readonly socket: string;
  readonly configFile: string | undefined;
  readonly signal: AbortSignal;
}

/** It ends with this code when there are problems. */
const hasProblems = 25;

/**
 * Asks the program `ocic doctor`, beside our own or in PATH. It reads the node's files one after the other, which would
 * hold our event loop; and what is wrong with a daemon is not for the daemon to judge.
 */
export async function askDoctor({ socket, configFile, signal }: DoctorRequest): Promise<DoctorSection> {
  const checkedAt = Date.now();
  try {
    const path = findExecutable(join(dirname(process.execPath), "ocic")) ?? findExecutable("ocic");
    if (path === undefined)
      throw new OcidError("NOT_FOUND", "ocic, which has the doctor, is neither beside ocid nor in PATH");
    const config = configFile === undefined ? [] : ["--config", configFile];
    const { code, stdout, stderr } = await runProcess({
      path,
      args: ["doctor", "--json", "--runtime-endpoint", socket, ...config],
      env: { ...cleanEnvironment(), ...ownVariables() },
      timeoutMs: 60_000,
      capBytes: 4 * 2 ** 20,
      signal,
    });
    if (code !== 0 && code !== hasProblems)
      throw new OcidError("INTERNAL", `ocic doctor ended with ${code}: ${short(stderr.toString().trim())}`);
    const { findings } = JSON.parse(stdout.toString()) as { readonly findings?: unknown };
    return { checkedAt, failure: null, findings: findingRows(Array.isArray(findings) ? findings : []) };
  } catch (error) {
    return { checkedAt, failure: messageOf(error), findings: findingRows([]) };
  }
}

/** The environment that our configuration may have come from, and the doctor's with it. */
function ownVariables(): Record<string, string> {
  const names = Object.keys(process.env).filter(name => /^(OCID_|CONTAINERS_STORAGE_CONF$)/.test(name));
  return Object.fromEntries(names.map(name => [name, process.env[name]!]));
}
