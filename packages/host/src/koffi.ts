import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { embeddedKoffi } from "./embedded.ts";

/** The part of koffi that system calls need. */
export interface Koffi {
  load(path: string): { func(prototype: string): NativeFunction };
  errno(): number;
}

export interface NativeFunction {
  (...values: readonly unknown[]): number | bigint;
  /** The same on a thread of libuv's pool; the last value is called with the error or the result. */
  readonly async?: (...values: readonly unknown[]) => void;
}

let loaded: Koffi | undefined;

/** koffi, loaded at the first system call: as provided, from a single executable's asset, or from node_modules. */
export function koffi(): Koffi {
  loaded ??= loadKoffi();
  return loaded;
}

function loadKoffi(): Koffi {
  const provided = embeddedKoffi();
  if (provided) return provided;
  const sea = process.getBuiltinModule("node:sea");
  if (!sea.isSea()) return createRequire(import.meta.url ?? join(__dirname, "koffi.js"))("koffi") as Koffi;
  const binary = new Uint8Array(sea.getAsset("koffi.node"));
  const failures: unknown[] = [];
  // Any of these may be mounted noexec or read-only.
  for (const parent of new Set([tmpdir(), "/run", "/var/tmp", "/dev/shm"])) {
    try {
      return loadFrom(parent, binary);
    } catch (error) {
      failures.push(error);
    }
  }
  throw new OcidError(
    "FAILED_PRECONDITION",
    `koffi cannot be loaded: ${(failures[0] as Error).message} (a directory where programs may run is needed: ${tmpdir()}, /run, /var/tmp or /dev/shm)`,
    { cause: failures[0] },
  );
}

/** A native module can only be loaded from a file: it lies in a private directory for as long as that takes. */
function loadFrom(parent: string, binary: Uint8Array): Koffi {
  const directory = mkdtempSync(join(parent, "ocid-native-"));
  const path = join(directory, "koffi.node");
  try {
    const file = openSync(path, "wx", 0o500);
    try {
      writeFileSync(file, binary);
    } finally {
      closeSync(file);
    }
    const target: { exports: unknown } = { exports: {} };
    process.dlopen(target, path);
    return target.exports as Koffi;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
