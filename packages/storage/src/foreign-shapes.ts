import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import type { Layout } from "./layout.ts";

/** Refuses stores that other drivers or helper programs have shaped in a way that a native mount would misread. */
export function refuseForeignShapes(layout: Layout): void {
  const flag = join(layout.overlay, ".has-mount-program");
  if (existsSync(flag) && readFileSync(flag, "utf8").trim() === "true") {
    throw new OcidError(
      "FAILED_PRECONDITION",
      `the store ${layout.root} was written through fuse-overlayfs, which a native overlay mount cannot read; use another --root`,
    );
  }
  for (const driver of ["btrfs", "zfs", "vfs", "aufs"]) {
    if (existsSync(join(layout.root, `${driver}-layers`, "layers.json")))
      throw new OcidError(
        "FAILED_PRECONDITION",
        `the store ${layout.root} belongs to the driver ${driver}; only overlay is supported, use another --root`,
      );
  }
}
