import { isAbsolute, normalize } from "node:path";
import { OcidError } from "@ocid/base";
import type { RuntimeDevice, RuntimeLinux, RuntimeSeccomp } from "@ocid/spec";
import {
  type LinuxContainerAdjustment,
  type LinuxDevice,
  type LinuxRdt,
  type LinuxSeccomp,
  MpolFlag,
  MpolMode,
} from "../gen/nri_pb.js";
import { checkText } from "./check-text.ts";
import { adjustList, adjustMap, marked, markedMap } from "./removal.ts";

/** The `linux` part of a configuration with what a plugin adjusts, limits aside. */
export function adjustLinux(linux: RuntimeLinux, adjust: LinuxContainerAdjustment): RuntimeLinux {
  const { devices, rules } = adjustDevices(linux, adjust.devices);
  const { intelRdt: _, memoryPolicy: __, ...rest } = linux;
  const rdt = adjustRdt(linux.intelRdt, adjust.rdt);
  const policy = adjust.memoryPolicy ? memoryPolicyOf(adjust.memoryPolicy) : linux.memoryPolicy;
  return {
    ...rest,
    namespaces: adjustNamespaces(linux.namespaces, adjust.namespaces),
    ...(adjust.devices.length > 0
      ? {
          devices,
          resources: { ...linux.resources, devices: [...(linux.resources?.devices ?? []), ...rules] },
        }
      : {}),
    ...(adjust.cgroupsPath !== "" ? { cgroupsPath: checkCgroup(adjust.cgroupsPath) } : {}),
    ...(adjust.seccompPolicy ? { seccomp: seccompOf(adjust.seccompPolicy) } : {}),
    ...(Object.keys(adjust.sysctl).length > 0
      ? { sysctl: adjustMap(linux.sysctl ?? {}, markedMap(checkSysctls(adjust.sysctl))) }
      : {}),
    ...(Object.keys(adjust.netDevices).length > 0
      ? {
          netDevices: adjustMap(
            linux.netDevices ?? {},
            markedMap(adjust.netDevices).map(({ key, value }) => ({
              key: checkInterface(key),
              value: value && (value.name === "" ? {} : { name: checkInterface(value.name) }),
            })),
          ),
        }
      : {}),
    ...(rdt ? { intelRdt: rdt } : {}),
    ...(policy ? { memoryPolicy: policy } : {}),
  };
}

function adjustDevices(linux: RuntimeLinux, entries: readonly LinuxDevice[]) {
  const changes = marked(entries, device => device.path).map(({ key, value }) => ({
    key: checkDevicePath(key),
    value: value && deviceOf(value),
  }));
  const rules = changes.flatMap(({ value }) => (value ? [ruleOf(value)] : []));
  return { devices: [...adjustList(linux.devices ?? [], changes, device => device.path)], rules };
}

function ruleOf({ type, major = 0, minor = 0 }: RuntimeDevice) {
  return { allow: true, type, major, minor, access: type === "b" ? "rwm" : "rw" };
}

function checkDevicePath(path: string): string {
  if (!isAbsolute(checkText("device", path)) || normalize(path) !== path)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `device ${JSON.stringify(path.slice(0, 200))} should have an absolute path`,
    );
  return path;
}

function deviceOf({ path, type, major, minor, fileMode, uid, gid }: LinuxDevice): RuntimeDevice {
  const inRange = (value: bigint) => value >= 0n && value < 2n ** 32n;
  if (!/^[bcup]$/.test(type) || !inRange(major) || !inRange(minor))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `device ${path} cannot be ${JSON.stringify(type.slice(0, 20))} ${major}:${minor}`,
    );
  return {
    path,
    type: type as RuntimeDevice["type"],
    major: Number(major),
    minor: Number(minor),
    ...(fileMode ? { fileMode: fileMode.value & 0o7777 } : {}),
    ...(uid ? { uid: uid.value } : {}),
    ...(gid ? { gid: gid.value } : {}),
  };
}

const namespaceTypes = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"] as const;

function adjustNamespaces(
  old: RuntimeLinux["namespaces"],
  entries: LinuxContainerAdjustment["namespaces"],
): RuntimeLinux["namespaces"] {
  const changes = marked(entries, namespace => namespace.type).map(({ key, value }) => {
    const type = namespaceTypes.find(known => known === key);
    const path = value?.path ?? "";
    if (type === undefined || (path !== "" && !isAbsolute(checkText("namespace", path))))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `not a namespace: ${JSON.stringify(key.slice(0, 50))} ${JSON.stringify(path.slice(0, 200))}`,
      );
    return { key, value: value && { type, ...(path === "" ? {} : { path }) } };
  });
  return [...adjustList<RuntimeLinux["namespaces"][number]>(old, changes, namespace => namespace.type)];
}

function checkCgroup(path: string): string {
  if (!/^[\w./@:\\-]{1,4096}$/.test(path) || path.split("/").includes(".."))
    throw new OcidError("INVALID_ARGUMENT", `not a cgroup: ${JSON.stringify(path.slice(0, 200))}`);
  return path;
}

function checkSysctls(sysctls: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  for (const [name, value] of Object.entries(sysctls))
    if (!/^-?[a-z0-9][a-z0-9_./-]{0,200}$/i.test(name) || name.includes("..") || /[\n\0]/.test(value))
      throw new OcidError("INVALID_ARGUMENT", `not a sysctl: ${JSON.stringify(name.slice(0, 100))}`);
  return sysctls;
}

function checkInterface(name: string): string {
  if (!/^[^\s/:\0]{1,15}$/.test(name) || name === "." || name === "..")
    throw new OcidError("INVALID_ARGUMENT", `not a network device: ${JSON.stringify(name.slice(0, 50))}`);
  return name;
}

/** What a number holds exactly is one, for runtimes' configurations are JSON. */
function exact(value: bigint): number | bigint {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

function seccompOf(policy: LinuxSeccomp): RuntimeSeccomp {
  for (const action of [policy.defaultAction, ...policy.syscalls.map(syscall => syscall.action)])
    if (!/^SCMP_ACT_[A-Z_]{3,30}$/.test(action))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `not an action of seccomp: ${JSON.stringify(action.slice(0, 50))}`,
      );
  return {
    defaultAction: policy.defaultAction,
    ...(policy.defaultErrno ? { defaultErrnoRet: policy.defaultErrno.value } : {}),
    ...(policy.architectures.length > 0 ? { architectures: [...policy.architectures] } : {}),
    ...(policy.flags.length > 0 ? { flags: [...policy.flags] } : {}),
    ...(policy.listenerPath !== "" ? { listenerPath: checkText("listener", policy.listenerPath) } : {}),
    ...(policy.listenerMetadata !== "" ? { listenerMetadata: policy.listenerMetadata } : {}),
    syscalls: policy.syscalls.map(({ names, action, errnoRet, args }) => ({
      names: [...names],
      action,
      ...(errnoRet ? { errnoRet: errnoRet.value } : {}),
      ...(args.length > 0
        ? {
            args: args.map(({ index, value, valueTwo, op }) => ({
              index,
              value: exact(value),
              ...(valueTwo === 0n ? {} : { valueTwo: exact(valueTwo) }),
              op,
            })),
          }
        : {}),
    })),
  };
}

function adjustRdt(old: RuntimeLinux["intelRdt"], rdt: LinuxRdt | undefined): RuntimeLinux["intelRdt"] {
  if (!rdt) return old;
  const next = {
    ...(rdt.remove ? {} : old),
    ...(rdt.closId ? { closID: checkText("rdt class", rdt.closId.value) } : {}),
    ...(rdt.schemata ? { schemata: [...rdt.schemata.value] } : {}),
    ...(rdt.enableMonitoring ? { enableMonitoring: rdt.enableMonitoring.value } : {}),
  };
  return Object.keys(next).length > 0 ? next : undefined;
}

function memoryPolicyOf({
  mode,
  nodes,
  flags,
}: NonNullable<LinuxContainerAdjustment["memoryPolicy"]>): NonNullable<RuntimeLinux["memoryPolicy"]> {
  const names = flags.map(flag => MpolFlag[flag] ?? "");
  if (MpolMode[mode] === undefined || names.includes("") || !/^[\d,-]{0,1000}$/.test(nodes))
    throw new OcidError("INVALID_ARGUMENT", "the memory policy has a mode, flag or node that is not known");
  return {
    mode: MpolMode[mode],
    ...(nodes === "" ? {} : { nodes }),
    ...(names.length > 0 ? { flags: names } : {}),
  };
}
