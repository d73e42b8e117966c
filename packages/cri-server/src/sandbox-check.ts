import { isIP } from "node:net";
import { isAbsolute } from "node:path";
import { OcidError } from "@ocid/base";
import { NamespaceMode, type PodSandboxConfig, type PortMapping, Protocol } from "@ocid/cri-api";
import { noColon } from "./container-check.ts";
import { podIdMappings } from "./runtime-config/user-namespace.ts";

/** Refuses a pod that cannot be what it asks for, before anything of it is made. INVALID_ARGUMENT names the field. */
export function checkSandboxConfig(config: PodSandboxConfig | undefined): PodSandboxConfig {
  if (!config?.metadata) throw invalid("the sandbox's config or its metadata is missing");
  const { name, namespace, uid } = config.metadata;
  for (const [field, value] of Object.entries({ name, namespace, uid })) {
    if (value === "" || value.length > 253 || /[/\s\x00-\x1f\x7f]/.test(value))
      throw invalid(`the sandbox's metadata has no usable ${field}: ${JSON.stringify(value.slice(0, 100))}`);
  }
  const logs = config.logDirectory;
  if (logs !== "" && (!isAbsolute(logs) || logs.split("/").includes("..") || logs.includes("\0")))
    throw invalid(`the log directory ${JSON.stringify(logs.slice(0, 200))} should be an absolute path`);
  if (logs.includes(":")) throw invalid(noColon(logs));
  if (config.windows) throw invalid("the sandbox's config has Windows fields; this is a Linux node");
  checkNamespaces(config);
  for (const port of config.portMappings) checkPort(port);
  return config;
}

function checkNamespaces(config: PodSandboxConfig): void {
  const options = config.linux?.securityContext?.namespaceOptions;
  if (!options) return;
  podIdMappings(options);
  const modes = { network: options.network, pid: options.pid, ipc: options.ipc };
  for (const [kind, mode] of Object.entries(modes)) {
    const known = [
      NamespaceMode.POD,
      NamespaceMode.NODE,
      ...(kind === "pid" ? [NamespaceMode.CONTAINER] : []),
    ];
    if (!known.includes(mode))
      throw invalid(`a pod's ${kind} namespace cannot be of mode ${NamespaceMode[mode] ?? mode}`);
  }
}

function checkPort({ hostPort, containerPort, hostIp, protocol }: PortMapping): void {
  if (containerPort < 1 || containerPort > 65_535 || hostPort < 0 || hostPort > 65_535)
    throw invalid(`port mapping ${hostPort}:${containerPort} is out of range`);
  if (Protocol[protocol] === undefined)
    throw invalid(`port mapping ${hostPort}:${containerPort} has an unknown protocol ${protocol}`);
  if (hostIp !== "" && !isIP(hostIp))
    throw invalid(
      `port mapping ${hostPort}:${containerPort}: ${JSON.stringify(hostIp.slice(0, 60))} is no IP address`,
    );
}

function invalid(what: string): OcidError {
  return new OcidError("INVALID_ARGUMENT", what);
}
