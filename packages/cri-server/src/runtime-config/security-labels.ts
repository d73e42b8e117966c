import { OcidError } from "@ocid/base";
import { type ContainerConfig, SecurityProfile_ProfileType } from "@ocid/cri-api";

/** Security modules that the node's kernel has switched on. */
export interface SecurityModules {
  readonly apparmor: boolean;
  readonly selinux: boolean;
}

/**
 * Labels of security modules must not be taken for protection where they give none: a profile of AppArmor that a
 * container names is refused. Without the modules the rest means nothing. With them, what this daemon cannot set is
 * refused too.
 */
export function refuseLabels(config: ContainerConfig, modules: SecurityModules): void {
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
  const { user = "", role = "", type = "", level = "" } = security?.selinuxOptions ?? {};
  if (modules.selinux && `${user}${role}${type}${level}` !== "")
    throw new OcidError(
      "FAILED_PRECONDITION",
      `container ${name} asks for an SELinux label, which this daemon cannot set yet`,
    );
  const relabelled = config.mounts.find(mount => mount.selinuxRelabel);
  if (modules.selinux && relabelled)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `container ${name} asks for its mount at ${relabelled.containerPath} to be relabelled for SELinux, which this daemon cannot do yet`,
    );
}
