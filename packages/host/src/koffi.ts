import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The part of koffi that system calls need. */
export interface Koffi {
  load(path: string): { func(prototype: string): NativeFunction };
  errno(): number;
}

export type NativeFunction = (...values: readonly unknown[]) => number | bigint;

let loaded: Koffi | undefined;

/** koffi, loaded at the first system call: from node_modules, or from the executable that carries it as an asset. */
export function koffi(): Koffi {
  loaded ??= loadKoffi();
  return loaded;
}

function loadKoffi(): Koffi {
  const sea = process.getBuiltinModule("node:sea");
  if (!sea.isSea()) return createRequire(import.meta.url ?? join(__dirname, "koffi.js"))("koffi") as Koffi;
  // A native module can only be loaded from a file: it lies in a directory of our own for as long as that takes.
  const directory = mkdtempSync(join(tmpdir(), "ocid-native-"));
  const path = join(directory, "koffi.node");
  try {
    const file = openSync(path, "wx", 0o500);
    writeSync(file, new Uint8Array(sea.getAsset("koffi.node")));
    closeSync(file);
    const target: { exports: unknown } = { exports: {} };
    process.dlopen(target, path);
    return target.exports as Koffi;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
