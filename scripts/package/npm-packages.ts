import { execFileSync } from "node:child_process";
import { globSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { repository } from "../run.ts";

/** A package as it would be published. */
export interface PackedPackage {
  readonly name: string;
  readonly version: string;
  /** Its folder in the repository. */
  readonly folder: string;
  readonly tarball: string;
  readonly packedBytes: number;
  /** Paths in the tarball, without the leading `package/`. */
  readonly files: readonly string[];
  /** The manifest as published: workspace versions and catalog entries are replaced. */
  readonly manifest: Readonly<Record<string, unknown>>;
}

/** Packs every package and application that is not private into `directory`; they have to be built. */
export function packAll(directory: string): readonly PackedPackage[] {
  mkdirSync(directory, { recursive: true });
  return globSync("{packages,apps}/*/package.json", { cwd: repository })
    .sort()
    .filter(path => read(join(repository, path))["private"] !== true)
    .map(path => pack(dirname(path), directory));
}

function pack(folder: string, directory: string): PackedPackage {
  const pnpm = join(repository, "node_modules/.bin/pnpm");
  const said = execFileSync(pnpm, ["pack", "--json", "--pack-destination", directory], {
    cwd: join(repository, folder),
    encoding: "utf8",
  });
  const { filename } = JSON.parse(said) as { filename: string };
  const listed = execFileSync("tar", ["tzf", filename], { encoding: "utf8" }).trimEnd().split("\n");
  const text = execFileSync("tar", ["xzOf", filename, "package/package.json"], { encoding: "utf8" });
  const manifest = JSON.parse(text) as Record<string, unknown>;
  return {
    name: manifest["name"] as string,
    version: manifest["version"] as string,
    folder,
    tarball: filename,
    packedBytes: statSync(filename).size,
    files: listed.map(path => path.replace(/^package\//, "")),
    manifest,
  };
}

/** Installs packed packages with npm into an empty project at `directory`, as a stranger would, with npm's own packages. */
export function installPacked(directory: string, packages: readonly PackedPackage[]): void {
  mkdirSync(directory, { recursive: true });
  const files = Object.fromEntries(packages.map(({ name, tarball }) => [name, `file:${tarball}`]));
  // What one of ours needs of another has to be the packed one too: it is in no registry yet.
  const project = { name: "stranger", private: true, type: "module", dependencies: files, overrides: files };
  writeFileSync(join(directory, "package.json"), JSON.stringify(project));
  execFileSync("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: directory,
    stdio: ["ignore", "ignore", "inherit"],
  });
}

/** The first example of a package's README; undefined where it has none. */
export function readmeExample(folder: string): string | undefined {
  const text = readFileSync(join(repository, folder, "README.md"), "utf8");
  return /^```ts\n([\s\S]*?)^```/m.exec(text)?.[1];
}

function read(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(path, "utf8"));
}
