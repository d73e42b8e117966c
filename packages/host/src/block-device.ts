import { readlinkSync } from "node:fs";
import { basename } from "node:path";

/** `/dev/vda` of its numbers; empty for one that has gone. */
export function blockDeviceName(major: number, minor: number): string {
  try {
    return `/dev/${basename(readlinkSync(`/sys/dev/block/${major}:${minor}`)).replaceAll("!", "/")}`;
  } catch {
    return "";
  }
}
