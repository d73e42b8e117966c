import { readdir, readFile, readlink } from "node:fs/promises";

/** What processes hold open, all of them together. */
export interface ProcessUsage {
  readonly processes: bigint;
  readonly threads: bigint;
  readonly fileDescriptors: bigint;
  /** Those of the file descriptors that are sockets. */
  readonly sockets: bigint;
}

/** Looks at each process once, one after the other and beside the event loop; one that ends meanwhile is left out. */
export async function readProcessUsage(pids: readonly number[]): Promise<ProcessUsage> {
  const sum = { processes: 0n, threads: 0n, fileDescriptors: 0n, sockets: 0n };
  for (const pid of pids) {
    try {
      const [status, descriptors] = await Promise.all([
        readFile(`/proc/${pid}/status`, "utf8"),
        readdir(`/proc/${pid}/fd`),
      ]);
      const targets = await Promise.all(
        descriptors.map(fd => readlink(`/proc/${pid}/fd/${fd}`).catch(() => "")),
      );
      sum.processes += 1n;
      sum.threads += BigInt(/^Threads:\s*(\d+)$/m.exec(status)?.[1] ?? 0);
      sum.fileDescriptors += BigInt(descriptors.length);
      sum.sockets += BigInt(targets.filter(target => target.startsWith("socket:")).length);
    } catch {
      // It has ended.
    }
  }
  return sum;
}

/** How many files a process may open (RLIMIT_NOFILE, the soft limit); undefined without a limit or a process. */
export async function readOpenFilesLimit(pid: number): Promise<bigint | undefined> {
  const text = await readFile(`/proc/${pid}/limits`, "utf8").catch(() => "");
  const soft = /^Max open files\s+(\d+)/m.exec(text)?.[1];
  return soft === undefined ? undefined : BigInt(soft);
}
