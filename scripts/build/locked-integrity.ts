import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../run.ts";

/** A package as pnpm-lock.yaml has it: the integrity (`sha512-…`) of its tarball. */
export function lockedIntegrity(name: string, version: string): string {
  const lock = readFileSync(join(repository, "pnpm-lock.yaml"), "utf8");
  const key = `${name}@${version}`;
  const start = [`\n  '${key}':\n`, `\n  ${key}:\n`]
    .map(text => lock.indexOf(text))
    .find(index => index >= 0);
  const integrity =
    start === undefined ? null : /integrity: (sha512-[\w+/=]+)/.exec(lock.slice(start, start + 400));
  if (!integrity) throw new Error(`pnpm-lock.yaml has no integrity of ${key}`);
  return integrity[1]!;
}
