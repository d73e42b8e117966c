import { normalize } from "node:path";
import type { RuntimeDevice, RuntimeMount, RuntimeSpec } from "@ocid/spec";
import { describeDevice } from "../runtime-config/devices.ts";
import type { CdiDeviceNode, CdiEdits } from "./cdi-spec.ts";

/** A runtime configuration with what CDI devices change in it (CDI specification, "containerEdits"). */
export function applyCdi(spec: RuntimeSpec, edits: readonly CdiEdits[]): RuntimeSpec {
  return edits.reduce(applyOne, spec);
}

function applyOne(spec: RuntimeSpec, edits: CdiEdits): RuntimeSpec {
  const { process, linux } = spec;
  const userNamespace = linux.uidMappings !== undefined;
  const nodes = (edits.deviceNodes ?? []).map(node => ({ node, device: deviceOf(node, process.user) }));
  const isBound = ({ node }: (typeof nodes)[number]) =>
    userNamespace && node.hostPath !== undefined && node.hostPath !== node.path;
  const mounts: RuntimeMount[] = [
    ...nodes.filter(isBound).map(({ node }) => ({
      destination: node.path,
      type: "bind",
      source: node.hostPath!,
      options: ["bind", "rprivate", "nosuid", "noexec"],
    })),
    ...(edits.mounts ?? []).map(mount => ({
      destination: normalize(mount.containerPath),
      type: mount.type ?? "bind",
      source: mount.hostPath,
      options: mount.options ?? ["rbind", "rprivate", "ro"],
    })),
  ];
  const devices = nodes.filter(entry => !isBound(entry)).map(({ device }) => device);
  const rules = nodes.map(({ node, device }) => ({
    allow: true,
    type: device.type,
    ...(device.major === undefined ? {} : { major: device.major }),
    ...(device.minor === undefined ? {} : { minor: device.minor }),
    access: node.permissions ?? "rwm",
  }));
  const groups = [...(process.user.additionalGids ?? []), ...(edits.additionalGids ?? [])];
  return {
    ...spec,
    process: {
      ...process,
      env: withEnvironment(process.env ?? [], edits.env ?? []),
      user: { ...process.user, additionalGids: [...new Set(groups)] },
    },
    mounts: [...replaced(spec.mounts, mounts, mount => mount.destination), ...mounts],
    hooks: withHooks(spec.hooks, edits),
    linux: {
      ...linux,
      devices: [...replaced(linux.devices ?? [], devices, device => device.path), ...devices],
      resources: { ...linux.resources, devices: [...(linux.resources?.devices ?? []), ...rules] },
      ...(edits.intelRdt ? { intelRdt: { closID: edits.intelRdt.closID } } : {}),
    },
  };
}

/** What the file leaves open is as on the node; a container that is not root's owns its devices. */
function deviceOf(node: CdiDeviceNode, user: { readonly uid: number; readonly gid: number }): RuntimeDevice {
  const found =
    node.type !== undefined && (node.type === "p" || (node.major !== undefined && node.minor !== undefined))
      ? { type: node.type as RuntimeDevice["type"], path: node.path }
      : describeDevice(node.hostPath ?? node.path, node.path);
  const uid = node.uid ?? (user.uid > 0 ? user.uid : undefined);
  const gid = node.gid ?? (user.gid > 0 ? user.gid : undefined);
  return {
    ...found,
    ...(node.major === undefined ? {} : { major: node.major }),
    ...(node.minor === undefined ? {} : { minor: node.minor }),
    ...(node.fileMode === undefined ? {} : { fileMode: node.fileMode }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  };
}

function replaced<T>(old: readonly T[], next: readonly T[], key: (item: T) => string): readonly T[] {
  const taken = new Set(next.map(key));
  return old.filter(item => !taken.has(key(item)));
}

function withEnvironment(env: readonly string[], more: readonly string[]): string[] {
  const nameOf = (entry: string) => entry.slice(0, entry.indexOf("="));
  return [...replaced(env, more, nameOf), ...more];
}

function withHooks(hooks: RuntimeSpec["hooks"], edits: CdiEdits): NonNullable<RuntimeSpec["hooks"]> {
  const all: NonNullable<RuntimeSpec["hooks"]> = { ...hooks };
  for (const { hookName, ...hook } of edits.hooks ?? []) all[hookName] = [...(all[hookName] ?? []), hook];
  return all;
}
