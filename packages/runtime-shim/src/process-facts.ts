import { readFileSync } from "node:fs";

/** Where the kernel has put a process: the unified hierarchy's path, or that of the memory controller. */
export function cgroupOf(pid: number): string | undefined {
  try {
    const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8")
      .trim()
      .split("\n")
      .map(line => line.split(":"));
    const found =
      lines.find(([, controllers]) => controllers?.split(",").includes("memory")) ??
      lines.find(([number]) => number === "0");
    return found?.slice(2).join(":");
  } catch {
    return undefined;
  }
}

/** A process's arguments, each ended by a zero byte; empty when it is gone. */
export function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}
