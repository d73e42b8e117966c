import { dirname, join } from "node:path";
import { type Cgroup, type CgroupLayout, openCgroup } from "@ocid/host";
import { parseSystemdCgroup } from "@ocid/spec";
import type { ContainerRecord } from "./container-files.ts";

/** Where a container goes, and where its monitor, so that it is not counted with us and survives us. */
export interface ContainerCgroups {
  /** From the root of each hierarchy; undefined where the runtime decides. */
  readonly container: string | undefined;
  readonly monitor: string | undefined;
  /** The unit that systemd makes for the monitor; without it the monitor's cgroup is ours to make. */
  readonly monitorScope: { readonly slice: string; readonly scope: string } | undefined;
}

/** Both lie in the pod's cgroup: what the monitor uses is the pod's. */
export function containerCgroups(
  id: string,
  cgroupsPath: string | undefined,
  systemd: boolean,
): ContainerCgroups {
  if (systemd) {
    const container = parseSystemdCgroup(cgroupsPath ?? "");
    const monitor = parseSystemdCgroup(`${container.slice}:ocid-conmon:${id}`);
    return { container: container.directory, monitor: monitor.directory, monitorScope: monitor };
  }
  const parent = dirname(cgroupsPath ?? "/");
  return {
    container: cgroupsPath,
    monitor: parent === "/" ? undefined : join(parent, `conmon-${id}`),
    monitorScope: undefined,
  };
}

/** Undefined where a container has none of its own: nobody knows it, or it is everybody's. */
export function cgroupOfRecord({ cgroupPath }: ContainerRecord, layout?: CgroupLayout): Cgroup | undefined {
  return cgroupPath === undefined || cgroupPath === "/" ? undefined : openCgroup(cgroupPath, layout);
}
