import { OcidError } from "@ocid/base";

// Container Device Interface specification, SPEC.md, versions 0.3 to 1.0.

export interface CdiDeviceNode {
  readonly path: string;
  readonly hostPath?: string;
  readonly type?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly fileMode?: number;
  readonly permissions?: string;
  readonly uid?: number;
  readonly gid?: number;
}

export interface CdiHook {
  readonly hookName: string;
  readonly path: string;
  readonly args?: string[];
  readonly env?: string[];
  readonly timeout?: number;
}

export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly type?: string;
  readonly options?: string[];
}

/** What a device changes in a container. */
export interface CdiEdits {
  readonly env?: readonly string[];
  readonly deviceNodes?: readonly CdiDeviceNode[];
  readonly mounts?: readonly CdiMount[];
  readonly hooks?: readonly CdiHook[];
  readonly additionalGids?: readonly number[];
  readonly intelRdt?: { readonly closID: string };
}

/** A file of devices of one kind. */
export interface CdiSpec {
  /** `vendor.com/class`. */
  readonly kind: string;
  readonly devices: ReadonlyMap<string, CdiEdits>;
  /** For every container that has any of the devices. */
  readonly edits: CdiEdits;
}

const kindForm = /^[A-Za-z]([\w.-]*[A-Za-z0-9])?\/[A-Za-z]([\w-]*[A-Za-z0-9])?$/;
const deviceForm = /^[A-Za-z0-9]([\w.:-]*[A-Za-z0-9])?$/;
const hookNames = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/** Takes `vendor.com/class=device` apart; INVALID_ARGUMENT when it is none. */
export function parseCdiName(name: string): { readonly kind: string; readonly device: string } {
  const at = name.indexOf("=");
  const [kind, device] = [name.slice(0, at), name.slice(at + 1)];
  if (at === -1 || !kindForm.test(kind) || !deviceForm.test(device))
    throw invalid(
      `not the name of a CDI device: ${JSON.stringify(name.slice(0, 200))} (vendor.com/class=device)`,
    );
  return { kind, device };
}

/** Checks a spec that has been read. What it asks for and is not known here is refused, not left out. */
export function parseCdiSpec(value: unknown): CdiSpec {
  const spec = objectOf(value, "it", ["cdiVersion", "kind", "annotations", "devices", "containerEdits"]);
  if (typeof spec["cdiVersion"] !== "string" || !/^v?(0\.[3-9]|1\.\d+)\.\d+$/.test(spec["cdiVersion"]))
    throw invalid(`cdiVersion ${JSON.stringify(spec["cdiVersion"])} is not supported (0.3.0 to 1.x)`);
  if (typeof spec["kind"] !== "string" || !kindForm.test(spec["kind"]))
    throw invalid(`not a kind of CDI devices: ${JSON.stringify(spec["kind"])?.slice(0, 100)}`);
  const devices = new Map<string, CdiEdits>();
  for (const item of listOf(spec["devices"], "devices")) {
    const device = objectOf(item, "a device", ["name", "annotations", "containerEdits"]);
    const { name } = device;
    if (typeof name !== "string" || !deviceForm.test(name))
      throw invalid(`not the name of a device: ${JSON.stringify(name)?.slice(0, 100)}`);
    if (devices.has(name)) throw invalid(`device ${name} is there twice`);
    devices.set(name, parseEdits(device["containerEdits"], `device ${name}`));
  }
  if (devices.size === 0) throw invalid("it has no devices");
  return { kind: spec["kind"], devices, edits: parseEdits(spec["containerEdits"], "containerEdits") };
}

function parseEdits(value: unknown, what: string): CdiEdits {
  if (value === undefined || value === null) return {};
  const keys = ["env", "deviceNodes", "mounts", "hooks", "additionalGids", "intelRdt"];
  const edits = objectOf(value, what, keys);
  const env = strings(edits["env"], `${what}: env`);
  if (env?.some(entry => !/^[^=\0]+=[^\0]*$/.test(entry)))
    throw invalid(`${what}: an env entry is not name=value`);
  return {
    ...(env ? { env } : {}),
    deviceNodes: listOf(edits["deviceNodes"], what).map(item => parseNode(item, what)),
    mounts: listOf(edits["mounts"], what).map(item => parseMount(item, what)),
    hooks: listOf(edits["hooks"], what).map(item => parseHook(item, what)),
    additionalGids: listOf(edits["additionalGids"], what).map(item => integer(item, `${what}: a group`)!),
    ...(edits["intelRdt"] === undefined ? {} : { intelRdt: parseRdt(edits["intelRdt"], what) }),
  };
}

function parseNode(value: unknown, what: string): CdiDeviceNode {
  const node = objectOf(value, `${what}: a device node`, [
    ...["path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"],
  ]);
  const { hostPath, type, permissions } = node;
  if (permissions !== undefined && !/^[rwm]{1,3}$/.test(String(permissions)))
    throw invalid(`${what}: permissions should be of r, w and m`);
  if (type !== undefined && !/^[bcup]$/.test(String(type))) throw invalid(`${what}: unknown type of device`);
  const numbers = ["major", "minor", "fileMode", "uid", "gid"].flatMap(key =>
    node[key] === undefined ? [] : [[key, integer(node[key], `${what}: ${key}`)] as const],
  );
  return {
    path: absolute(node["path"], what),
    ...(hostPath === undefined ? {} : { hostPath: absolute(hostPath, what) }),
    ...(type === undefined ? {} : { type: type as string }),
    ...(permissions === undefined ? {} : { permissions: permissions as string }),
    ...Object.fromEntries(numbers),
  };
}

function parseMount(value: unknown, what: string): CdiMount {
  const mount = objectOf(value, `${what}: a mount`, ["hostPath", "containerPath", "type", "options"]);
  const options = strings(mount["options"], `${what}: options`);
  return {
    hostPath: absolute(mount["hostPath"], what),
    containerPath: absolute(mount["containerPath"], what),
    ...(typeof mount["type"] === "string" ? { type: mount["type"] } : {}),
    ...(options ? { options } : {}),
  };
}

function parseHook(value: unknown, what: string): CdiHook {
  const hook = objectOf(value, `${what}: a hook`, ["hookName", "path", "args", "env", "timeout"]);
  if (!hookNames.includes(hook["hookName"] as string))
    throw invalid(`${what}: unknown hook ${JSON.stringify(hook["hookName"])?.slice(0, 60)}`);
  const [args, env] = [strings(hook["args"], `${what}: args`), strings(hook["env"], `${what}: env`)];
  return {
    hookName: hook["hookName"] as string,
    path: absolute(hook["path"], what),
    ...(args ? { args } : {}),
    ...(env ? { env } : {}),
    ...(hook["timeout"] === undefined ? {} : { timeout: integer(hook["timeout"], `${what}: timeout`)! }),
  };
}

function parseRdt(value: unknown, what: string): { readonly closID: string } {
  const { closID } = objectOf(value, `${what}: intelRdt`, ["closID"]);
  if (typeof closID !== "string" || !/^[\w.-]{1,64}$/.test(closID) || closID === "." || closID === "..")
    throw invalid(`${what}: intelRdt needs the closID of a class`);
  return { closID };
}

function objectOf(value: unknown, what: string, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid(`${what} is not an object`);
  const unknown = Object.keys(value).find(key => !known.includes(key));
  if (unknown !== undefined) throw invalid(`${what} has ${unknown}, which is not supported`);
  return value as Record<string, unknown>;
}

function listOf(value: unknown, what: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > 1000) throw invalid(`${what} is not a list of at most 1000`);
  return value;
}

function strings(value: unknown, what: string): string[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value) || !value.every(item => typeof item === "string" && !item.includes("\0")))
    throw invalid(`${what} is not a list of strings`);
  return value;
}

function integer(value: unknown, what: string): number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32)
    return value as number;
  throw invalid(`${what} is not a number from 0 to ${2 ** 32 - 1}`);
}

function absolute(value: unknown, what: string): string {
  if (typeof value === "string" && value.startsWith("/") && !value.includes("\0")) return value;
  throw invalid(`${what}: not an absolute path: ${JSON.stringify(value)?.slice(0, 100)}`);
}

function invalid(what: string): OcidError {
  return new OcidError("INVALID_ARGUMENT", what);
}
