import { randomInt } from "node:crypto";
import { lstatSync } from "node:fs";
import { OcidError } from "@ocid/base";
import { assignProject, errnoOf, readProject, readProjectQuota, setProjectLimits } from "@ocid/host";
import type { DiskUsage } from "./disk-usage.ts";

/** What a container may write; what is left out is not limited. */
export interface LayerQuota {
  readonly bytes?: number | undefined;
  readonly inodes?: number | undefined;
}

/**
 * Our projects (docs/adr/0019). Far above those that people give by hand in projid(5), and above those that the other
 * programs of the store begin with, who count upwards from the greatest that they saw when they started.
 */
const firstProject = 2 ** 31;
const endOfProjects = 2 ** 32 - 2 ** 20;

/**
 * Makes a new layer's directory the root of a project with limits. The number is drawn, and is free when the kernel
 * knows no inode with it: on the whole file system, of whatever program. The caller holds the layers' lock.
 */
export function limitLayer(directory: string, { bytes = 0, inodes = 0 }: LayerQuota): void {
  for (let attempt = 0; attempt < 100; attempt++) {
    const project = firstProject + randomInt(endOfProjects - firstProject);
    if (readProjectQuota(directory, project).inodes > 0) continue;
    assignProject(directory, project);
    setProjectLimits(directory, project, { bytes, inodes });
    return;
  }
  throw new OcidError("RESOURCE_EXHAUSTED", `no project is free on the file system of ${directory}`);
}

/** Takes the limits of a layer that is being removed away: nothing is left behind under its project's number. */
export function releaseLimits(directory: string): void {
  const project = projectOf(directory);
  if (project === undefined) return;
  ignoringNoQuotas(() => setProjectLimits(directory, project, { bytes: 0, inodes: 0 }));
}

/** What the kernel has counted for a layer with limits; undefined for others. */
export function limitedUsage(directory: string): DiskUsage | undefined {
  const project = projectOf(directory);
  if (project === undefined) return undefined;
  return ignoringNoQuotas(() => {
    const { bytes, inodes } = readProjectQuota(directory, project);
    return { bytes, inodes };
  });
}

/** The project that we have given a layer. */
function projectOf(directory: string): number | undefined {
  if (!lstatSync(directory, { throwIfNoEntry: false })?.isDirectory()) return undefined;
  const project = readProject(directory);
  return project >= firstProject && project < endOfProjects ? project : undefined;
}

/** Undefined where the file system has been mounted without quotas since. */
function ignoringNoQuotas<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (["ENOSYS", "EINVAL", "ESRCH"].includes(errnoOf(error) ?? "")) return undefined;
    throw error;
  }
}
