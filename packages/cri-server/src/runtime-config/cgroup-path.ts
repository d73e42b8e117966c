import { basename, join, normalize } from "node:path";
import { OcidError } from "@ocid/base";
import { isSliceName, parseSystemdCgroup, sliceDirectory } from "@ocid/spec";

export type CgroupDriver = "cgroupfs" | "systemd";

/**
 * The cgroup that a pod's containers go below: a path for the driver cgroupfs, the name of a slice for systemd, as the
 * kubelet gives it (`/kubepods.slice/kubepods-pod1.slice` is meant by its last part). A parent in the other driver's
 * spelling is refused: the kubelet and this daemon would make different cgroups.
 */
export function podCgroupParent(driver: CgroupDriver, asked: string, podId: string): string {
  if (asked === "") return driver === "systemd" ? "system.slice" : `/ocid-${podId}`;
  if (!/^[\w./@:\\-]{1,4096}$/.test(asked) || asked.split("/").includes(".."))
    throw new OcidError("INVALID_ARGUMENT", `not a cgroup: ${JSON.stringify(asked.slice(0, 200))}`);
  const isSlice = asked.endsWith(".slice");
  if (isSlice !== (driver === "systemd"))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `cgroup parent ${JSON.stringify(asked)} is ${isSlice ? "a slice of systemd" : "not a slice of systemd"}, but this daemon's cgroup driver is ${driver}; set the kubelet's and runtime.cgroup_driver to the same`,
    );
  if (driver === "cgroupfs") return normalize(`/${asked}`);
  const slice = basename(asked);
  if (!isSliceName(slice))
    throw new OcidError("INVALID_ARGUMENT", `not a slice of systemd: ${JSON.stringify(slice)}`);
  return slice;
}

/** `linux.cgroupsPath` of a container (runtime-spec, config-linux.md, "Cgroups Path"; systemd: `slice:prefix:name`). */
export function containerCgroupsPath(driver: CgroupDriver, parent: string, id: string): string {
  return driver === "systemd" ? `${parent}:ocid:${id}` : join(parent, id);
}

/** Where a pod's cgroup lies below the hierarchy's root: systemd puts `a-b.slice` into `a.slice`. */
export function cgroupDirectory(driver: CgroupDriver, parent: string): string {
  return driver === "cgroupfs" ? parent : sliceDirectory(parent);
}

/** Where a container's cgroup lies below the hierarchy's root. */
export function containerCgroupDirectory(driver: CgroupDriver, parent: string, id: string): string {
  const path = containerCgroupsPath(driver, parent, id);
  return driver === "cgroupfs" ? path : parseSystemdCgroup(path).directory;
}
