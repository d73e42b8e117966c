import { readFileSync } from "node:fs";

/** Names by number (linux/capability.h). */
const names = [
  "CHOWN",
  "DAC_OVERRIDE",
  "DAC_READ_SEARCH",
  "FOWNER",
  "FSETID",
  "KILL",
  "SETGID",
  "SETUID",
  "SETPCAP",
  "LINUX_IMMUTABLE",
  "NET_BIND_SERVICE",
  "NET_BROADCAST",
  "NET_ADMIN",
  "NET_RAW",
  "IPC_LOCK",
  "IPC_OWNER",
  "SYS_MODULE",
  "SYS_RAWIO",
  "SYS_CHROOT",
  "SYS_PTRACE",
  "SYS_PACCT",
  "SYS_ADMIN",
  "SYS_BOOT",
  "SYS_NICE",
  "SYS_RESOURCE",
  "SYS_TIME",
  "SYS_TTY_CONFIG",
  "MKNOD",
  "LEASE",
  "AUDIT_WRITE",
  "AUDIT_CONTROL",
  "SETFCAP",
  "MAC_OVERRIDE",
  "MAC_ADMIN",
  "SYSLOG",
  "WAKE_ALARM",
  "BLOCK_SUSPEND",
  "AUDIT_READ",
  "PERFMON",
  "BPF",
  "CHECKPOINT_RESTORE",
] as const;

/** Capabilities that a child of ours can ever have: `CAP_CHOWN` … (capabilities(7), "bounding set"). */
export function boundingCapabilities(): ReadonlySet<string> {
  return parseCapabilities(
    /^CapBnd:\s*([0-9a-f]+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0",
  );
}

export function parseCapabilities(hex: string): ReadonlySet<string> {
  const bits = BigInt(`0x${hex}`);
  return new Set(names.filter((_, number) => (bits >> BigInt(number)) & 1n).map(name => `CAP_${name}`));
}

/** The lowest oom_score_adj that a child may be given: without CAP_SYS_RESOURCE none below our own (proc(5)). */
export function minOomScoreAdj(): number {
  if (boundingCapabilities().has("CAP_SYS_RESOURCE")) return -1000;
  return Number(readFileSync("/proc/self/oom_score_adj", "utf8"));
}
