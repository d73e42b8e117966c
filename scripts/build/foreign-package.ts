import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../run.ts";
import { koffiBinary } from "./koffi-binary.ts";
import { lockedIntegrity } from "./locked-integrity.ts";

const cache = join(repository, "node_modules/.cache/ocid-build");

/**
 * The folder of a package of npm's that is for another architecture, which is why pnpm has not installed it; fetched
 * once. Its tarball must be the one whose integrity is given; by default koffi's version, as the lock file has it.
 */
export async function foreignPackage(
  name: string,
  wanted: { readonly version: string; readonly integrity: string } = lockedWithKoffi(name),
): Promise<string> {
  const folder = join(cache, `${name.replace("/", "+")}@${wanted.version}`);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, ".fetch-"));
  try {
    const file = execFileSync("npm", ["pack", "--silent", `${name}@${wanted.version}`], {
      cwd: work,
      encoding: "utf8",
    });
    const tarball = join(work, file.trim());
    checkIntegrity(name, readFileSync(tarball), wanted.integrity);
    execFileSync("tar", ["-xzf", tarball], { cwd: work });
    renameSync(join(work, "package"), folder);
    return folder;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

export function checkIntegrity(name: string, bytes: Uint8Array, wanted: string): void {
  const found = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
  if (found !== wanted)
    throw new Error(`${name} is not what it should be: its tarball is ${found}, not ${wanted}`);
}

/** All halves of koffi have one version. */
function lockedWithKoffi(name: string): { readonly version: string; readonly integrity: string } {
  const manifest = readFileSync(join(koffiBinary(), "../../package.json"), "utf8");
  const { version } = JSON.parse(manifest) as { readonly version: string };
  return { version, integrity: lockedIntegrity(name, version) };
}
