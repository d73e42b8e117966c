import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { OcidError } from "@ocid/base";
import type { Cgroup } from "./cgroup.ts";
import { isGone, tryRead } from "./cgroup-files.ts";
import type { CgroupLayout } from "./cgroup-layout.ts";
import { errnoOf } from "./errno.ts";
import { pause } from "./pause.ts";

/** Kills everything in a cgroup and below, again and again until nothing is left. */
export async function killCgroup(
  cgroup: Cgroup,
  layout: CgroupLayout,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(50, pauseMs * 2)) {
    const alive = cgroup.processes(true);
    if (alive.length === 0) return;
    if (performance.now() > deadline) {
      throw new OcidError(
        "DEADLINE_EXCEEDED",
        `processes of cgroup ${cgroup.path} did not end within ${timeoutMs} ms of being killed: ${alive.slice(0, 10).join(", ")}`,
      );
    }
    if (layout.version === 1 || !killAtOnce(cgroup)) killFrozen(cgroup, layout, alive);
    await pause(pauseMs, signal);
  }
}

/** cgroup.kill of version 2 (Linux 5.14) misses none, a fork bomb's children included. */
function killAtOnce(cgroup: Cgroup): boolean {
  return tryWrite(cgroup, "", "cgroup.kill", "1");
}

/** Without it a fork bomb can only be caught while it stands still. */
function killFrozen(cgroup: Cgroup, layout: CgroupLayout, alive: readonly number[]): void {
  const [controller, file, freeze] = freezer(layout);
  const frozen = tryWrite(cgroup, controller, file, freeze);
  try {
    for (const pid of frozen ? cgroup.processes(true) : alive) killOne(pid);
  } finally {
    thawCgroup(cgroup, layout);
  }
}

/** Thaws a cgroup and, on version 1, those above that hold it frozen. */
export function thawCgroup(cgroup: Cgroup, layout: CgroupLayout): void {
  const [controller, file, , thaw] = freezer(layout);
  tryWrite(cgroup, controller, file, thaw);
  if (layout.version === 1) thawAbove(cgroup, layout);
}

/** Controller, file, and what is written to freeze and to thaw. */
function freezer(layout: CgroupLayout) {
  return layout.version === 2
    ? (["", "cgroup.freeze", "1", "0"] as const)
    : (["freezer", "freezer.state", "FROZEN", "THAWED"] as const);
}

/** Version 1 lets nothing die in a cgroup below one that somebody has frozen (cgroup-v1/freezer-subsystem.rst). */
function thawAbove(cgroup: Cgroup, layout: CgroupLayout): void {
  const root = layout.controllers.get("freezer");
  if (root === undefined) return;
  let path = cgroup.path;
  while (path !== "/" && isFrozenFromAbove(join(root, path))) {
    path = dirname(path);
    if (path !== "/") writeFileSync(join(root, path, "freezer.state"), "THAWED");
  }
}

function isFrozenFromAbove(directory: string): boolean {
  return tryRead(join(directory, "freezer.parent_freezing"))?.trim() === "1";
}

function killOne(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (errnoOf(error) !== "ESRCH") throw error;
  }
}

/** False where the file does not exist. */
function tryWrite(cgroup: Cgroup, controller: string, file: string, text: string): boolean {
  if (cgroup.read(controller, "cgroup.procs") === undefined) return false;
  try {
    cgroup.write(controller, file, text);
    return true;
  } catch (error) {
    if (isGone(error) || errnoOf(error) === "EACCES") return false;
    throw error;
  }
}
