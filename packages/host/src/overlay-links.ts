import { existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { mount } from "./mount.ts";
import type { OverlayRequest } from "./overlay.ts";

/** Options end at one page, its last byte included. */
export const maxDataBytes = 4095;

/**
 * Mounts an overlay through short symlinks to its directories, which are needed only while the kernel looks: room for
 * some 230 layers in the one page of mount(2), whatever their names. Afterwards /proc/self/mountinfo shows the links.
 */
export function mountByLinks(request: OverlayRequest, options: readonly string[]): void {
  const directory = mkdtempSync(join(existsSync("/run") ? "/run" : tmpdir(), "o-"));
  let count = 0;
  const link = (path: string): string => {
    const short = join(directory, (count++).toString(36));
    symlinkSync(path, short);
    return short;
  };
  try {
    const data = [
      `lowerdir=${request.lowers.map(link).join(":")}`,
      ...(request.upper === undefined || request.work === undefined
        ? []
        : [`upperdir=${link(request.upper)}`, `workdir=${link(request.work)}`]),
      ...options,
    ].join(",");
    if (Buffer.byteLength(data) > maxDataBytes)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `overlay on ${request.target}: ${request.lowers.length} layers are more than this kernel takes (Linux 6.5 takes 500)`,
      );
    mount({
      source: "overlay",
      target: request.target,
      fstype: "overlay",
      data,
      flags: request.readOnly ? ["readonly"] : [],
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
}
