import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { RuntimeSeccomp, RuntimeSpec } from "@ocid/spec";
import {
  type Container,
  ContainerSchema,
  ContainerState,
  IOPrioClass,
  type LinuxContainerSchema,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  type LinuxSeccompSchema,
  type PodSandbox,
  PodSandboxSchema,
  SecurityProfile_ProfileType,
} from "./gen/nri_pb.js";
import { hookKinds } from "./hook-kinds.ts";
import { resourcesMessage } from "./resources.ts";
import type { NriContainer, NriPod, SeccompProfile } from "./types.ts";

const states = {
  unknown: ContainerState.CONTAINER_UNKNOWN,
  created: ContainerState.CONTAINER_CREATED,
  paused: ContainerState.CONTAINER_PAUSED,
  running: ContainerState.CONTAINER_RUNNING,
  stopped: ContainerState.CONTAINER_STOPPED,
} as const;

const profiles = {
  "runtime-default": SecurityProfile_ProfileType.RUNTIME_DEFAULT,
  unconfined: SecurityProfile_ProfileType.UNCONFINED,
  localhost: SecurityProfile_ProfileType.LOCALHOST,
} as const satisfies Record<SeccompProfile["type"], SecurityProfile_ProfileType>;

/** A pod in the words of the protocol. */
export function podMessage(pod: NriPod): PodSandbox {
  return create(PodSandboxSchema, {
    id: pod.id,
    name: pod.name,
    uid: pod.uid,
    namespace: pod.namespace,
    labels: { ...pod.labels },
    annotations: { ...pod.annotations },
    runtimeHandler: pod.runtimeHandler,
    pid: pod.pid ?? 0,
    ips: [...pod.ips],
    linux: {
      cgroupParent: pod.cgroupParent,
      cgroupsPath: pod.cgroupsPath ?? "",
      namespaces: pod.namespaces.map(namespace => ({ ...namespace })),
      podOverhead: resourcesMessage(pod.overhead ?? {}),
      podResources: resourcesMessage(pod.resources ?? {}),
      resources: resourcesMessage(pod.resources ?? {}),
    },
  });
}

/** A container in the words of the protocol; most of it is said by its runtime configuration. */
export function containerMessage(container: NriContainer): Container {
  const { spec } = container;
  const { process } = spec;
  return create(ContainerSchema, {
    id: container.id,
    podSandboxId: container.podId,
    name: container.name,
    state: states[container.state],
    labels: { ...container.labels },
    // What the runtime is told may have been adjusted.
    annotations: { ...container.annotations, ...spec.annotations },
    args: [...process.args],
    env: [...(process.env ?? [])],
    mounts: spec.mounts.map(({ destination, type = "", source = "", options = [] }) => ({
      destination,
      type,
      source,
      options: [...options],
    })),
    hooks: hooksMessage(spec.hooks ?? {}),
    linux: linuxMessage(spec, container.seccompProfile),
    pid: container.pid ?? 0,
    rlimits: (process.rlimits ?? []).map(({ type, hard, soft }) => ({
      type,
      hard: unsigned(hard),
      soft: unsigned(soft),
    })),
    createdAt: container.createdAtNs,
    startedAt: container.startedAtNs ?? 0n,
    finishedAt: container.finishedAtNs ?? 0n,
    exitCode: container.exitCode ?? 0,
    statusReason: container.reason ?? "",
    CDIDevices: (container.cdiDevices ?? []).map(name => ({ name })),
    user: {
      uid: process.user.uid,
      gid: process.user.gid,
      additionalGids: [...(process.user.additionalGids ?? [])],
    },
    ...(container.image ? { image: { ...container.image } } : {}),
  });
}

function hooksMessage(hooks: NonNullable<RuntimeSpec["hooks"]>) {
  return Object.fromEntries(
    hookKinds.map(kind => [
      kind,
      (hooks[kind] ?? []).map(({ path, args = [], env = [], timeout }) => ({
        path,
        args: [...args],
        env: [...env],
        ...(timeout === undefined ? {} : { timeout: { value: BigInt(timeout) } }),
      })),
    ]),
  );
}

function linuxMessage(
  { process, linux }: RuntimeSpec,
  profile: SeccompProfile | undefined,
): MessageInitShape<typeof LinuxContainerSchema> {
  const { ioPriority, scheduler, oomScoreAdj } = process;
  return {
    namespaces: linux.namespaces.map(({ type, path = "" }) => ({ type, path })),
    devices: (linux.devices ?? []).map(({ path, type, major = 0, minor = 0, fileMode, uid, gid }) => ({
      path,
      type,
      major: BigInt(major),
      minor: BigInt(minor),
      ...(fileMode === undefined ? {} : { fileMode: { value: fileMode } }),
      ...(uid === undefined ? {} : { uid: { value: uid } }),
      ...(gid === undefined ? {} : { gid: { value: gid } }),
    })),
    resources: resourcesMessage(linux.resources ?? {}),
    ...(oomScoreAdj === undefined ? {} : { oomScoreAdj: { value: BigInt(oomScoreAdj) } }),
    cgroupsPath: linux.cgroupsPath ?? "",
    ...(ioPriority
      ? { ioPriority: { class: named(IOPrioClass, ioPriority.class), priority: ioPriority.priority } }
      : {}),
    ...(profile
      ? { seccompProfile: { profileType: profiles[profile.type], localhostRef: profile.localhostRef ?? "" } }
      : {}),
    ...(linux.seccomp ? { seccompPolicy: seccompMessage(linux.seccomp) } : {}),
    sysctl: { ...linux.sysctl },
    netDevices: Object.fromEntries(
      Object.entries(linux.netDevices ?? {}).map(([key, { name = "" }]) => [key, { name }]),
    ),
    ...(scheduler
      ? {
          scheduler: {
            policy: named(LinuxSchedulerPolicy, scheduler.policy),
            nice: scheduler.nice ?? 0,
            priority: scheduler.priority ?? 0,
            flags: (scheduler.flags ?? []).map(flag => named(LinuxSchedulerFlag, flag)),
            runtime: BigInt(scheduler.runtime ?? 0),
            deadline: BigInt(scheduler.deadline ?? 0),
            period: BigInt(scheduler.period ?? 0),
          },
        }
      : {}),
    ...(linux.intelRdt
      ? {
          rdt: {
            ...(linux.intelRdt.closID === undefined ? {} : { closId: { value: linux.intelRdt.closID } }),
            ...(linux.intelRdt.schemata ? { schemata: { value: linux.intelRdt.schemata } } : {}),
            ...(linux.intelRdt.enableMonitoring === undefined
              ? {}
              : { enableMonitoring: { value: linux.intelRdt.enableMonitoring } }),
          },
        }
      : {}),
  };
}

function seccompMessage(seccomp: RuntimeSeccomp): MessageInitShape<typeof LinuxSeccompSchema> {
  return {
    defaultAction: seccomp.defaultAction,
    ...(seccomp.defaultErrnoRet === undefined ? {} : { defaultErrno: { value: seccomp.defaultErrnoRet } }),
    architectures: [...(seccomp.architectures ?? [])],
    flags: [...(seccomp.flags ?? [])],
    listenerPath: seccomp.listenerPath ?? "",
    listenerMetadata: seccomp.listenerMetadata ?? "",
    syscalls: (seccomp.syscalls ?? []).map(({ names, action, errnoRet, args = [] }) => ({
      names: [...names],
      action,
      ...(errnoRet === undefined ? {} : { errnoRet: { value: errnoRet } }),
      args: args.map(({ index, value, valueTwo = 0, op }) => ({
        index,
        value: unsigned(value),
        valueTwo: unsigned(valueTwo),
        op,
      })),
    })),
  };
}

const maxUnsigned = 2n ** 64n - 1n;

/** A number that was read from a file may have been rounded up beyond what 64 bits hold. */
function unsigned(value: number | bigint): bigint {
  const exact = BigInt(value);
  return exact > maxUnsigned ? maxUnsigned : exact;
}

function named<E extends Readonly<Record<string, string | number>>>(kinds: E, name: string): number {
  const value = kinds[name];
  return typeof value === "number" ? value : 0;
}
