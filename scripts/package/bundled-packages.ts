import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { bundleOptions } from "../build/bundle.ts";
import { lockedIntegrity } from "../build/locked-integrity.ts";
import { workers } from "../build/workers.ts";
import { repository } from "../run.ts";

/** A package of npm's, or of this repository, whose code is in an executable. */
export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX expression. */
  readonly license: string;
  /** SHA-512 of its tarball in hex, from the lock file; undefined for our own. */
  readonly sha512: string | undefined;
  /** Text of its licence; undefined for our own, and where it has none. */
  readonly licenseText: string | undefined;
}

/** What of packages really gets into an executable, threads included, as esbuild counts it; in the order of names. */
export async function bundledPackages(app: string): Promise<readonly BundledPackage[]> {
  const { metafile } = await build({
    ...bundleOptions,
    absWorkingDir: repository,
    entryPoints: [`apps/${app}/src/main.ts`, ...workers()],
    outdir: "dist",
    format: "cjs",
    define: { "import.meta.url": "__moduleUrl" },
    write: false,
    metafile: true,
  });
  const files = Object.values(metafile.outputs).flatMap(({ inputs }) =>
    Object.keys(inputs).filter(path => inputs[path]!.bytesInOutput > 0),
  );
  const packages = [...new Set(files.map(folderOf))].map(readPackage);
  return packages.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

function folderOf(file: string): string {
  const folder = /^(?:.*node_modules\/(?:@[^/]+\/)?[^/]+|(?:packages|apps)\/[^/]+)(?=\/)/.exec(file)?.[0];
  if (folder === undefined) throw new Error(`${file} is of no package`);
  return folder;
}

/** Reads the package in a folder, given as a path from the repository. */
export function readPackage(folder: string): BundledPackage {
  const path = join(repository, folder);
  const { name, version, license } = JSON.parse(readFileSync(join(path, "package.json"), "utf8"));
  if (typeof license !== "string") throw new Error(`${name} ${version} does not name its licence`);
  const ours = !folder.includes("node_modules/");
  const text = ours
    ? undefined
    : readdirSync(path).find(file => /^(licen[cs]e|copying)(\.\w+)?$/i.test(file));
  return {
    name,
    version,
    license,
    sha512: ours ? undefined : hexOf(lockedIntegrity(name, version)),
    licenseText: text && readFileSync(join(path, text), "utf8"),
  };
}

function hexOf(integrity: string): string {
  return Buffer.from(integrity.slice("sha512-".length), "base64").toString("hex");
}
