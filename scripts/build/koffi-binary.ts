import { createRequire } from "node:module";
import { join } from "node:path";
import { repository } from "../run.ts";

/** The native half of koffi for this machine; it comes as an optional dependency of koffi. */
export function koffiBinary(): string {
  const fromHost = createRequire(join(repository, "packages/host/package.json"));
  const fromKoffi = createRequire(fromHost.resolve("koffi"));
  const target = `${process.platform}-${process.arch}`;
  const folder = fromKoffi.resolve(`@koromix/koffi-${target}/package.json`);
  return join(folder, "..", `${process.platform}_${process.arch}`, "koffi.node");
}
