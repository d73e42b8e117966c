import { isAbsolute } from "node:path";
import { OcidError } from "@ocid/base";
import {
  type ContainerConfig,
  NamespaceMode,
  type PodSandboxConfig,
  SupplementalGroupsPolicy,
} from "@ocid/cri-api";

/** Refuses a container that cannot be what it asks for, before anything of it is made. INVALID_ARGUMENT names the field. */
export function checkContainerConfig(config: ContainerConfig | undefined): ContainerConfig {
  if (!config?.metadata) throw invalid("the container's config or its metadata is missing");
  const { name } = config.metadata;
  if (!/^[a-zA-Z0-9][\w.-]{0,252}$/.test(name))
    throw invalid(`the container's metadata has no usable name: ${JSON.stringify(name.slice(0, 100))}`);
  if (!config.image?.image) throw invalid(`container ${name} names no image`);
  if (config.logPath.split("/").includes("..") || isAbsolute(config.logPath) || config.logPath.includes("\0"))
    throw invalid(`the log path ${JSON.stringify(config.logPath)} leaves the pod's log directory`);
  if (config.logPath.includes(":")) throw invalid(noColon(config.logPath));
  if (config.windows) throw invalid(`container ${name} has Windows fields; this is a Linux node`);
  if (config.stdinOnce && !config.stdin) throw invalid(`container ${name}: stdin_once needs stdin`);
  for (const text of [...config.command, ...config.args, config.workingDir])
    if (text.includes("\0")) throw invalid(`container ${name}: a command cannot contain a zero byte`);
  const policy = config.linux?.securityContext?.supplementalGroupsPolicy ?? SupplementalGroupsPolicy.Merge;
  if (SupplementalGroupsPolicy[policy] === undefined)
    throw invalid(`container ${name}: unknown supplemental_groups_policy ${policy}`);
  return config;
}

/** Network and ipc namespaces are the pod's: a container that asks for others would not get them. */
export function refuseOtherNamespaces(config: ContainerConfig, pod: PodSandboxConfig): void {
  const asked = config.linux?.securityContext?.namespaceOptions;
  const given = pod.linux?.securityContext?.namespaceOptions;
  for (const kind of ["network", "ipc"] as const) {
    const mode = asked?.[kind] ?? NamespaceMode.POD;
    // The zero value is what is sent by whoever does not ask.
    if (mode === NamespaceMode.POD || mode === given?.[kind]) continue;
    throw invalid(
      `container ${config.metadata?.name}: its ${kind} namespace cannot be of mode ${NamespaceMode[mode] ?? mode}, because its pod's is not`,
    );
  }
}

/** conmon takes a colon in the path of a log for its end, and would write another file. */
export function noColon(path: string): string {
  return `the log path ${JSON.stringify(path.slice(0, 200))} has a colon, at which the container's monitor would cut it`;
}

function invalid(what: string): OcidError {
  return new OcidError("INVALID_ARGUMENT", what);
}
