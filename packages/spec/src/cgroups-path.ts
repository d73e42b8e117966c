import { OcidError } from "@ocid/base";

/** `linux.cgroupsPath` in the form of systemd's driver: `slice:prefix:name` is the scope `prefix-name.scope` in the slice. */
export interface SystemdCgroup {
  readonly slice: string;
  readonly scope: string;
  /** From the root of each hierarchy. */
  readonly directory: string;
}

/** Whether it is the name of a slice, without empty parts between the dashes (systemd.slice(5)). */
export function isSliceName(name: string): boolean {
  return /^(-|[\w.@\\]+(-[\w.@\\]+)*)\.slice$/.test(name);
}

/** Where systemd puts a slice below the hierarchy's root: `a-b.slice` lies in `a.slice` (systemd.slice(5)). */
export function sliceDirectory(slice: string): string {
  if (slice === "-.slice") return "/";
  const parts = slice.slice(0, -".slice".length).split("-");
  return `/${parts.map((_, at) => `${parts.slice(0, at + 1).join("-")}.slice`).join("/")}`;
}

/** Reads `slice:prefix:name` as runc and crun do; INVALID_ARGUMENT where it is something else. */
export function parseSystemdCgroup(cgroupsPath: string): SystemdCgroup {
  const [slice = "", prefix = "", name = "", ...more] = cgroupsPath.split(":");
  if (!isSliceName(slice) || !prefix || !name || more.length > 0)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `cgroupsPath ${JSON.stringify(cgroupsPath.slice(0, 200))} is not slice:prefix:name, which the cgroup driver systemd needs`,
    );
  const scope = `${prefix}-${name}.scope`;
  return { slice, scope, directory: `${sliceDirectory(slice).replace(/\/$/, "")}/${scope}` };
}
