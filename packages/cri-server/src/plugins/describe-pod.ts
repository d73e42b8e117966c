import { type ContainerConfig, SecurityProfile_ProfileType } from "@ocid/cri-api";
import { mergeResources, type RuntimeResources, type RuntimeSpec } from "@ocid/spec";
import { cdiNames } from "../cdi/cdi-names.ts";
import type { Container, Sandbox } from "../records.ts";
import { containerCgroupsPath } from "../runtime-config/cgroup-path.ts";
import { runtimeResources } from "../runtime-config/resources.ts";
import type { ServerContext } from "../server-context.ts";
import type { PluginContainer, PluginPod } from "./plugin-port.ts";

const everything = { hugetlb: true, swap: true, unified: true, onDropped() {} };
const namespaceTypes = { net: "network", ipc: "ipc", uts: "uts", user: "user" } as const;

export async function describePod({ ports }: ServerContext, sandbox: Sandbox): Promise<PluginPod> {
  const { config, pauseId, cgroupParent } = sandbox;
  // Of a pod that has been stopped it is gone.
  const pause = pauseId === undefined ? undefined : await ports.runtime.state(pauseId).catch(() => undefined);
  const pid = pause?.status === "running" ? pause.pid : undefined;
  const pinned = Object.entries(namespaceTypes).flatMap(([key, type]) => {
    const path = sandbox.namespaces[key as keyof typeof namespaceTypes];
    return path === undefined ? [] : [{ type, path }];
  });
  return {
    id: sandbox.id,
    name: config.metadata?.name ?? "",
    uid: config.metadata?.uid ?? "",
    namespace: config.metadata?.namespace ?? "",
    labels: config.labels,
    annotations: config.annotations,
    runtimeHandler: sandbox.handler,
    pid,
    ips: sandbox.ips,
    cgroupParent,
    cgroupsPath:
      pauseId === undefined
        ? undefined
        : containerCgroupsPath(ports.node.cgroups().driver, cgroupParent, pauseId),
    namespaces: [...pinned, ...(pid === undefined ? [] : [{ type: "pid", path: `/proc/${pid}/ns/pid` }])],
    overhead: runtimeResources(config.linux?.overhead, everything),
    resources: runtimeResources(config.linux?.resources, everything),
  };
}

/** `spec` is what the container was, or is to be, made with. */
export function describeContainer(container: Container, spec: RuntimeSpec): PluginContainer {
  const { config, state } = container;
  const ended = state.status === "stopped" ? state : undefined;
  return {
    id: container.id,
    podId: container.sandboxId,
    name: config.metadata?.name ?? "",
    state: state.status,
    labels: config.labels,
    annotations: config.annotations,
    spec: container.phase === "creating" ? spec : withPresentLimits(container, spec),
    pid: "pid" in state ? state.pid : undefined,
    createdAtNs: container.createdAtNs,
    startedAtNs: container.startedAtNs,
    finishedAtNs: ended?.finishedAtNs,
    exitCode: ended?.exitCode,
    reason: ended?.oomKilled ? "OOMKilled" : undefined,
    cdiDevices: cdiNames(config),
    seccompProfile: seccompProfile(config),
    image: {
      name: config.image?.userSpecifiedImage || config.image?.image || "",
      digest: container.imageRef.split("@")[1] ?? "",
      configDigest: `sha256:${container.imageId}`,
    },
  };
}

/** Limits may have changed since the container was made. */
function withPresentLimits({ config, resources }: Container, spec: RuntimeSpec): RuntimeSpec {
  const layers: readonly (RuntimeResources | undefined)[] = [
    runtimeResources(config.linux?.resources, everything),
    resources,
  ];
  const present = layers.reduce<RuntimeResources>(
    (old, next) => mergeResources(old, next ?? {}),
    spec.linux.resources ?? {},
  );
  return { ...spec, linux: { ...spec.linux, resources: present } };
}

const profileTypes = {
  [SecurityProfile_ProfileType.RuntimeDefault]: "runtime-default",
  [SecurityProfile_ProfileType.Unconfined]: "unconfined",
  [SecurityProfile_ProfileType.Localhost]: "localhost",
} as const;

function seccompProfile({ linux }: ContainerConfig): PluginContainer["seccompProfile"] {
  const security = linux?.securityContext;
  if (security?.privileged) return { type: "unconfined" };
  const profile = security?.seccomp;
  return profile && { type: profileTypes[profile.profileType], localhostRef: profile.localhostRef };
}
