import { lstatSync, readdirSync, statSync } from "node:fs";
import { isAbsolute, join, normalize } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import type { Device } from "@ocid/cri-api";
import type { RuntimeDevice, RuntimeMount, RuntimeResources } from "@ocid/spec";

type DeviceRule = NonNullable<RuntimeResources["devices"]>[number];

/** What any container may use: null, zero, full, random, urandom, tty, ptmx and its own terminals. */
const standardRules: readonly DeviceRule[] = [
  { allow: false, access: "rwm" },
  { allow: true, type: "c", access: "m" },
  { allow: true, type: "b", access: "m" },
  ...[
    [1, 3],
    [1, 5],
    [1, 7],
    [1, 8],
    [1, 9],
    [5, 0],
    [5, 2],
  ].map(([major, minor]) => ({ allow: true, type: "c", major: major!, minor: minor!, access: "rwm" })),
  { allow: true, type: "c", major: 136, access: "rwm" },
];

export interface ContainerDevices {
  readonly devices: readonly RuntimeDevice[];
  /** Devices that are bind mounts, because a user namespace cannot make nodes. */
  readonly mounts: readonly RuntimeMount[];
  readonly rules: readonly DeviceRule[];
}

/**
 * Devices that a container asks for; a privileged one has all of the node's. In a user namespace runtimes bind the
 * node's device of the same path, which is another one when the container's path differs: those are mounts.
 */
export function containerDevices(
  requested: readonly Device[],
  privileged: boolean,
  userNamespace = false,
): ContainerDevices {
  const found = requestedDevices(requested);
  const bound = found.filter(({ hostPath, device }) => userNamespace && hostPath !== device.path);
  const made = found.filter(entry => !bound.includes(entry)).map(({ device }) => device);
  const mounts = bound.map(({ hostPath, device }) => ({
    destination: device.path,
    type: "bind",
    source: hostPath,
    options: ["bind", "rprivate", "nosuid", "noexec"],
  }));
  if (privileged) {
    const own = new Set(made.map(({ path }) => path));
    const others = hostDevices("/dev").filter(({ path }) => !own.has(path));
    return { devices: [...others, ...made], mounts, rules: [{ allow: true, access: "rwm" }] };
  }
  const rules = found.map(({ device, permissions }) => ({
    allow: true,
    type: device.type,
    major: device.major ?? 0,
    minor: device.minor ?? 0,
    access: permissions,
  }));
  return { devices: made, mounts, rules: [...standardRules, ...rules] };
}

interface FoundDevice {
  readonly hostPath: string;
  readonly device: RuntimeDevice;
  readonly permissions: string;
}

function requestedDevices(requested: readonly Device[]): readonly FoundDevice[] {
  return requested.flatMap(request => {
    const permissions = request.permissions || "rwm";
    if (!/^[rwm]{1,3}$/.test(permissions))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `device ${request.hostPath}: permissions should be of r, w and m, found ${JSON.stringify(permissions)}`,
      );
    const path = request.containerPath || request.hostPath;
    if (!isAbsolute(path) || normalize(path) !== path || path.includes("\0"))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `device ${request.hostPath}: its path in the container should be absolute, found ${JSON.stringify(path)}`,
      );
    return devicesAt(request.hostPath, path).map(found => ({ ...found, permissions }));
  });
}

function devicesAt(hostPath: string, containerPath: string): readonly Omit<FoundDevice, "permissions">[] {
  let stat: ReturnType<typeof statSync>;
  try {
    stat = statSync(hostPath);
  } catch (error) {
    throw wrapError(`device ${hostPath}`, error, "NOT_FOUND");
  }
  if (stat?.isDirectory())
    return readdirSync(hostPath).flatMap(name => devicesAt(join(hostPath, name), join(containerPath, name)));
  return [{ hostPath, device: describeDevice(hostPath, containerPath) }];
}

/** A device of the node under a path in the container; NOT_FOUND or INVALID_ARGUMENT when there is none. */
export function describeDevice(hostPath: string, path: string): RuntimeDevice {
  let device: RuntimeDevice | undefined;
  try {
    device = describe(hostPath, path);
  } catch (error) {
    throw wrapError(`device ${hostPath}`, error, "NOT_FOUND");
  }
  if (!device) throw new OcidError("INVALID_ARGUMENT", `${hostPath} is not a device`);
  return device;
}

function describe(hostPath: string, path: string): RuntimeDevice | undefined {
  const stat = statSync(hostPath, { bigint: true });
  const type = stat.isCharacterDevice() ? "c" : stat.isBlockDevice() ? "b" : undefined;
  if (!type) return undefined;
  const major = Number(((stat.rdev >> 32n) & 0xfffff000n) | ((stat.rdev >> 8n) & 0xfffn));
  const minor = Number(((stat.rdev >> 12n) & 0xffffff00n) | (stat.rdev & 0xffn));
  return {
    type,
    path,
    major,
    minor,
    fileMode: Number(stat.mode & 0o777n),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
  };
}

/** What a container has of its own below /dev, or must not have: other containers' terminals. */
const ownPlaces = new Set(["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"]);

function hostDevices(directory: string): readonly RuntimeDevice[] {
  return readdirSync(directory).flatMap(name => {
    const path = join(directory, name);
    if (ownPlaces.has(name)) return [];
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory()) return hostDevices(path);
    const device = stat?.isCharacterDevice() || stat?.isBlockDevice() ? describe(path, path) : undefined;
    return device ? [device] : [];
  });
}
