import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import type { RuntimeResources } from "@ocid/spec";
import { type LinuxResources, LinuxResourcesSchema } from "./gen/nri_pb.js";

type Init = MessageInitShape<typeof LinuxResourcesSchema>;

const memoryNumbers = [
  ["limit", "limit"],
  ["reservation", "reservation"],
  ["swap", "swap"],
  ["kernel", "kernel"],
  ["kernelTcp", "kernelTCP"],
  ["swappiness", "swappiness"],
] as const;
const memoryFlags = [
  ["disableOomKiller", "disableOOMKiller"],
  ["useHierarchy", "useHierarchy"],
] as const;
const cpuNumbers = ["shares", "quota", "period", "realtimeRuntime", "realtimePeriod"] as const;

/** Limits as plugins are told of them. */
export function resourcesMessage(resources: RuntimeResources): LinuxResources {
  const { memory, cpu, pids } = resources;
  const init: Init = {
    hugepageLimits: (resources.hugepageLimits ?? []).map(({ pageSize, limit }) => ({
      pageSize,
      limit: BigInt(limit),
    })),
    unified: { ...resources.unified },
    devices: (resources.devices ?? []).map(({ allow, type = "", major, minor, access = "" }) => ({
      allow,
      type,
      access,
      ...(major === undefined ? {} : { major: { value: BigInt(major) } }),
      ...(minor === undefined ? {} : { minor: { value: BigInt(minor) } }),
    })),
    memory: {
      ...Object.fromEntries(
        memoryNumbers.flatMap(([to, from]) =>
          memory?.[from] === undefined ? [] : [[to, { value: BigInt(memory[from]) }]],
        ),
      ),
      ...Object.fromEntries(
        memoryFlags.flatMap(([to, from]) =>
          memory?.[from] === undefined ? [] : [[to, { value: memory[from] }]],
        ),
      ),
    },
    cpu: {
      ...Object.fromEntries(
        cpuNumbers.flatMap(key => (cpu?.[key] === undefined ? [] : [[key, { value: BigInt(cpu[key]) }]])),
      ),
      cpus: cpu?.cpus ?? "",
      mems: cpu?.mems ?? "",
    },
    ...(pids === undefined ? {} : { pids: { limit: BigInt(pids.limit) } }),
  };
  return create(LinuxResourcesSchema, init);
}

/** Limits that a plugin asks for; INVALID_ARGUMENT names what no kernel would take. */
export function runtimeResources(message: LinuxResources | undefined): RuntimeResources {
  if (!message) return {};
  const memory = {
    ...numbers("memory", memoryNumbers, message.memory ?? {}),
    ...Object.fromEntries(
      memoryFlags.flatMap(([from, to]) => {
        const flag = message.memory?.[from];
        return flag ? [[to, flag.value]] : [];
      }),
    ),
  };
  const cpu = {
    ...numbers(
      "cpu",
      cpuNumbers.map(key => [key, key] as const),
      message.cpu ?? {},
    ),
    ...cpuset("cpus", message.cpu?.cpus),
    ...cpuset("mems", message.cpu?.mems),
  };
  const devices = message.devices.map(deviceRule);
  return {
    ...(Object.keys(memory).length > 0 ? { memory } : {}),
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(message.hugepageLimits.length > 0
      ? { hugepageLimits: message.hugepageLimits.map(hugepageLimit) }
      : {}),
    ...(Object.keys(message.unified).length > 0 ? { unified: unified(message.unified) } : {}),
    ...(message.pids ? { pids: { limit: number("pids.limit", message.pids.limit) } } : {}),
    ...(devices.length > 0 ? { devices } : {}),
  };
}

function numbers(
  what: string,
  names: readonly (readonly [string, string])[],
  values: object,
): Record<string, number> {
  return Object.fromEntries(
    names.flatMap(([from, to]) => {
      const wrapped = (values as Record<string, { readonly value: bigint } | undefined>)[from];
      return wrapped ? [[to, number(`${what}.${from}`, wrapped.value)]] : [];
    }),
  );
}

/** -1 is "no limit" wherever a limit can be lifted. */
function number(field: string, value: bigint): number {
  if (value < -1n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw wrong(field, value);
  return Number(value);
}

function cpuset(field: "cpus" | "mems", value = ""): { cpus?: string; mems?: string } {
  if (value === "") return {};
  if (!/^\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?){0,1000}$/.test(value)) throw wrong(`cpu.${field}`, value);
  return { [field]: value };
}

function hugepageLimit({ pageSize, limit }: { readonly pageSize: string; readonly limit: bigint }) {
  if (!/^[1-9]\d{0,9}(KB|MB|GB)$/.test(pageSize)) throw wrong("hugepage_limits.page_size", pageSize);
  return { pageSize, limit: number("hugepage_limits.limit", limit) };
}

function unified(files: Readonly<Record<string, string>>): Record<string, string> {
  for (const [file, value] of Object.entries(files))
    if (!/^[a-z][a-z0-9_.-]{0,99}$/i.test(file) || value.includes("\0"))
      throw wrong(`unified.${file}`, value);
  return { ...files };
}

function deviceRule(
  rule: LinuxResources["devices"][number],
): NonNullable<RuntimeResources["devices"]>[number] {
  if (!/^[abcup]?$/.test(rule.type)) throw wrong("devices.type", rule.type);
  if (!/^[rwm]{0,3}$/.test(rule.access)) throw wrong("devices.access", rule.access);
  return {
    allow: rule.allow,
    ...(rule.type === "" ? {} : { type: rule.type }),
    ...(rule.major ? { major: number("devices.major", rule.major.value) } : {}),
    ...(rule.minor ? { minor: number("devices.minor", rule.minor.value) } : {}),
    ...(rule.access === "" ? {} : { access: rule.access }),
  };
}

function wrong(field: string, value: unknown): OcidError {
  return new OcidError(
    "INVALID_ARGUMENT",
    `resources.${field} cannot be ${JSON.stringify(String(value).slice(0, 100))}`,
  );
}
