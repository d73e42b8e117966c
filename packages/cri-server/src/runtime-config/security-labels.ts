import { OcidError } from "@ocid/base";
import {
  type ContainerConfig,
  type PodSandboxConfig,
  type SELinuxOption,
  SecurityProfile_ProfileType,
} from "@ocid/cri-api";

/** Security modules that the node's kernel has switched on. */
export interface SecurityModules {
  readonly apparmor: boolean;
  readonly selinux: boolean;
}

/**
 * Labels of security modules must not be taken for protection where they give none: a profile of AppArmor that a
 * container names is refused. Without the modules the rest means nothing, and is told to `onDropped`. With them, what
 * this daemon cannot set is refused too.
 */
export function refuseLabels(
  config: ContainerConfig,
  modules: SecurityModules,
  onDropped: (what: string) => void = () => {},
): void {
  const security = config.linux?.securityContext;
  const name = config.metadata?.name;
  const { apparmor, apparmorProfile = "" } = security ?? {};
  if (apparmor && SecurityProfile_ProfileType[apparmor.profileType] === undefined)
    throw new OcidError("INVALID_ARGUMENT", `unknown type of AppArmor profile: ${apparmor.profileType}`);
  if (!apparmor && !/^(runtime\/default|unconfined|localhost\/.+)?$/.test(apparmorProfile))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `not an AppArmor profile: ${JSON.stringify(apparmorProfile.slice(0, 100))}`,
    );
  const isNamed = apparmor
    ? apparmor.profileType === SecurityProfile_ProfileType.Localhost
    : apparmorProfile.startsWith("localhost/");
  if (isNamed)
    throw new OcidError(
      "FAILED_PRECONDITION",
      modules.apparmor
        ? `container ${name} asks for an AppArmor profile of its own, which this daemon cannot set yet`
        : `container ${name} asks for an AppArmor profile, but AppArmor is not available on this node`,
    );
  const isDefault = apparmor
    ? apparmor.profileType === SecurityProfile_ProfileType.RuntimeDefault
    : apparmorProfile === "runtime/default";
  if (modules.apparmor && isDefault && !security?.privileged)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `container ${name} asks for the default AppArmor profile, which this daemon cannot set yet; make it unconfined`,
    );
  if (!modules.apparmor && isDefault && !security?.privileged)
    onDropped("apparmor: AppArmor is not available on this node");
  if (isLabel(security?.selinuxOptions)) {
    if (modules.selinux)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `container ${name} asks for an SELinux label, which this daemon cannot set yet`,
      );
    onDropped("selinux_options: SELinux is not available on this node");
  }
  const relabelled = config.mounts.find(mount => mount.selinuxRelabel);
  if (!relabelled) return;
  if (modules.selinux)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `container ${name} asks for its mount at ${relabelled.containerPath} to be relabelled for SELinux, which this daemon cannot do yet`,
    );
  onDropped("selinux_relabel of mounts: SELinux is not available on this node");
}

/** As `refuseLabels`, of what a pod asks for the process that holds its namespaces. */
export function refusePodLabels(
  config: PodSandboxConfig,
  modules: SecurityModules,
  onDropped: (what: string) => void,
): void {
  if (!isLabel(config.linux?.securityContext?.selinuxOptions)) return;
  if (modules.selinux)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `pod ${config.metadata?.name} asks for an SELinux label, which this daemon cannot set yet`,
    );
  onDropped("selinux_options: SELinux is not available on this node");
}

function isLabel(options: SELinuxOption | undefined): boolean {
  const { user = "", role = "", type = "", level = "" } = options ?? {};
  return `${user}${role}${type}${level}` !== "";
}
