import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../run.ts";

/** Fails with a dependency that is not one exact version of the catalog, and with a lock entry without integrity. */
export function checkPinned(): void {
  const workspace = readFileSync(join(repository, "pnpm-workspace.yaml"), "utf8");
  const lock = readFileSync(join(repository, "pnpm-lock.yaml"), "utf8");
  const wrong = [...looseVersions(workspace), ...looseDependencies(), ...withoutIntegrity(lock)];
  if (!/^minimumReleaseAge: (4320|[5-9]\d{3}|\d{5,})$/m.test(workspace))
    wrong.push("pnpm-workspace.yaml: minimumReleaseAge is less than three days (4320)");
  if (!/^blockExoticSubdeps: true$/m.test(workspace))
    wrong.push("pnpm-workspace.yaml: blockExoticSubdeps is not set");
  if (wrong.length > 0) throw new Error(`dependencies have to be pinned:\n  ${wrong.join("\n  ")}`);
}

export function looseVersions(workspace: string): string[] {
  const catalogs = workspace.slice(workspace.indexOf("\ncatalog:"));
  return [...catalogs.matchAll(/^ +("?[@\w/.-]+"?): (.+)$/gm)]
    .filter(([, , version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version!))
    .map(([, name, version]) => `pnpm-workspace.yaml: ${name} is ${version}, not one version`);
}

function looseDependencies(): string[] {
  return globSync("{,packages/*/,apps/*/,test/*/,bench/,reference/}package.json", {
    cwd: repository,
  }).flatMap(path => {
    const manifest = JSON.parse(readFileSync(join(repository, path), "utf8"));
    return Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })
      .filter(([, version]) => !/^(catalog:\w*|workspace:[*^])$/.test(version as string))
      .map(([name, version]) => `${path}: ${name} is ${version}, not of the catalog`);
  });
}

export function withoutIntegrity(lock: string): string[] {
  const packages = lock.slice(lock.indexOf("\npackages:\n"), lock.indexOf("\nsnapshots:\n"));
  return [...packages.matchAll(/^ {2}(\S+):\n {4}resolution: (.*)$/gm)]
    .filter(([, , resolution]) => !/^\{integrity: sha512-[\w+/=]+\}$/.test(resolution!))
    .map(([, name, resolution]) => `pnpm-lock.yaml: ${name} has no integrity (${resolution})`);
}
