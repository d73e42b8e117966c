import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { OcidError } from "@ocid/base";
import { findExecutable, runProcess } from "@ocid/host";
import type { RuntimeSpec } from "@ocid/spec";
import type { ContainerFiles } from "./container-files.ts";
import type { CallOptions } from "./types.ts";

/** FAILED_PRECONDITION with what criu misses; asked each time, because a kernel or a package may have changed. */
export async function refuseWithoutCriu(what: string, options: CallOptions): Promise<void> {
  const path = findExecutable("criu");
  if (path === undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `this node cannot ${what}: criu is not installed; install criu`,
      { reason: "CriuMissing" },
    );
  const { code, stdout, stderr } = await runProcess({ path, args: ["check"], timeoutMs: 30_000, ...options });
  if (code === 0) return;
  throw new OcidError(
    "FAILED_PRECONDITION",
    `this node cannot ${what}: criu check ended with ${code}: ${criuErrors(`${stdout}${stderr}`) || "no reason given"}`,
    { reason: "CriuUnusable" },
  );
}

/** What criu complains of in its output or log, without where in its source; the first complaint is most often the cause. */
export function criuErrors(text: string): string {
  return text
    .split("\n")
    .filter(line => /error|warn|fail/i.test(line))
    .map(line => line.replace(/^(\([\d.]+\)\s+)?(\d+: )?(\w+ \([^)]*\): )?/, "").trim())
    .join("; ")
    .slice(0, 500);
}

/** The errors in a log of criu's; empty where there is none. */
export function errorsInLog(path: string): string {
  try {
    const lines = readFileSync(path, "utf8").split("\n");
    return criuErrors(lines.filter(line => line.includes("Error (")).join("\n"));
  } catch {
    return "";
  }
}

/**
 * A configuration as a restore needs it: with options for criu that runtimes have no argument for. The options of the
 * node's own file, which runtimes take without this annotation, go before.
 */
export function restorableSpec(
  { bundle }: ContainerFiles,
  runtimePath: string,
  spec: RuntimeSpec,
): RuntimeSpec {
  const path = join(bundle, "criu.conf");
  const own = `/etc/criu/${basename(runtimePath) === "crun" ? "crun" : "runc"}.conf`;
  const before = existsSync(own) ? readFileSync(own, "utf8") : "";
  // Limits and cgroups are the new container's: runc before 1.2 would put the processes into the one of before.
  writeFileSync(path, `${before}\nmanage-cgroups=ignore\n`, { mode: 0o600 });
  return { ...spec, annotations: { ...spec.annotations, "org.criu.config": path } };
}
