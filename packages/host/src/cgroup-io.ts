import type { Cgroup } from "./cgroup.ts";
import type { CgroupLayout } from "./cgroup-layout.ts";

/** Traffic with one block device. */
export interface DeviceIo {
  readonly major: number;
  readonly minor: number;
  readonly readBytes: bigint;
  readonly writeBytes: bigint;
  readonly reads: bigint;
  readonly writes: bigint;
}

/** Traffic of a cgroup and all below it, by device; undefined where the kernel does not count it. */
export function readDeviceIo(
  cgroup: Pick<Cgroup, "read">,
  layout: CgroupLayout,
): readonly DeviceIo[] | undefined {
  return layout.version === 2
    ? parseIoStat(cgroup.read("io", "io.stat"))
    : parseThrottle(
        cgroup.read("blkio", "blkio.throttle.io_service_bytes_recursive"),
        cgroup.read("blkio", "blkio.throttle.io_serviced_recursive"),
      );
}

/** Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …` (kernel docs, cgroup-v2, "io.stat"). */
function parseIoStat(text: string | undefined): readonly DeviceIo[] | undefined {
  if (text === undefined) return undefined;
  return [...text.matchAll(/^(\d+):(\d+) (.*)$/gm)].map(([, major, minor, rest]) => {
    const value = (key: string) => BigInt(new RegExp(`\\b${key}=(\\d+)`).exec(rest!)?.[1] ?? 0);
    return {
      major: Number(major),
      minor: Number(minor),
      readBytes: value("rbytes"),
      writeBytes: value("wbytes"),
      reads: value("rios"),
      writes: value("wios"),
    };
  });
}

/** Lines `8:0 Read 1`, `8:0 Write 2` … of two files (kernel docs, cgroup-v1, blkio-controller). */
function parseThrottle(
  bytes: string | undefined,
  operations: string | undefined,
): readonly DeviceIo[] | undefined {
  if (bytes === undefined || operations === undefined) return undefined;
  const value = (text: string, device: string, kind: string) =>
    BigInt(new RegExp(`^${device} ${kind} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
  const devices = new Set([...bytes.matchAll(/^\d+:\d+(?= Read )/gm)].map(([device]) => device));
  return [...devices].map(device => {
    const [major, minor] = device.split(":").map(Number) as [number, number];
    return {
      major,
      minor,
      readBytes: value(bytes, device, "Read"),
      writeBytes: value(bytes, device, "Write"),
      reads: value(operations, device, "Read"),
      writes: value(operations, device, "Write"),
    };
  });
}
