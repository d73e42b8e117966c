import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { repository } from "../run.ts";

/** Which packages of ours a package may use; ARCHITECTURE.md explains the layers. Tests are free. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  "packages/base": [],
  "packages/spec": ["base"],
  "packages/host": ["base"],
  "packages/streaming": ["base"],
  "packages/cri-api": ["base"],
  "packages/registry": ["base", "spec"],
  "packages/layer": ["base", "spec", "host"],
  "packages/cni": ["base", "host"],
  "packages/nri": ["base", "spec", "host"],
  "packages/image-copy": ["base", "spec", "registry", "layer"],
  "packages/storage": ["base", "spec", "layer", "host"],
  "packages/runtime-shim": ["base", "spec", "host"],
  "packages/cri-server": ["base", "spec", "cri-api", "streaming"],
  "apps/ocic": [
    "base",
    "spec",
    "host",
    "streaming",
    "cri-api",
    "registry",
    "layer",
    "cni",
    "image-copy",
    "storage",
  ],
};

/** Fails with every import that goes up or sideways, and every dependency that is declared so. */
export function checkLayers(): void {
  const wrong = Object.entries(allowed).flatMap(([folder, layers]) => {
    const permitted = new Set(layers.map(name => `@ocid/${name}`));
    return [
      ...forbiddenDependencies(folder, permitted),
      ...forbiddenImports(folder, permitted),
      ...forbiddenModules(folder),
    ];
  });
  if (wrong.length > 0)
    throw new Error(`layers: a package may use only what stands below it:\n  ${wrong.join("\n  ")}`);
}

/** What is not for the network or the machine does not load its modules: these packages run anywhere. */
const pure: Readonly<Record<string, RegExp>> = {
  "packages/spec": /^node:(?!crypto$)/,
  "packages/base/src/index.ts": /^node:(dns|net|tls|http|https|http2|child_process|worker_threads)/,
};

function forbiddenModules(folder: string): string[] {
  const rule = pure[folder];
  const root = pure[`${folder}/src/index.ts`];
  if (!rule && !root) return [];
  const files = rule
    ? globSync(`${folder}/src/**/*.ts`, { cwd: repository }).filter(path => !path.endsWith(".test.ts"))
    : reachable(`${folder}/src/index.ts`);
  return files.flatMap(path =>
    importsOf(path)
      .filter(name => (rule ?? root)!.test(name))
      .map(name => `${path} imports ${name}, which it must do without`),
  );
}

/** A file and all of its own package that it imports. */
function reachable(path: string, found = new Set<string>()): readonly string[] {
  if (found.has(path)) return [];
  found.add(path);
  for (const name of importsOf(path)) if (name.startsWith("./")) reachable(join(dirname(path), name), found);
  return [...found];
}

function importsOf(path: string): readonly string[] {
  const text = readFileSync(join(repository, path), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map(match => match[1]!);
}

function forbiddenDependencies(folder: string, permitted: ReadonlySet<string>): string[] {
  const manifest = JSON.parse(readFileSync(join(repository, folder, "package.json"), "utf8"));
  return Object.keys(manifest.dependencies ?? {})
    .filter(name => name.startsWith("@ocid/") && !permitted.has(name))
    .map(name => `${folder}/package.json depends on ${name}`);
}

function forbiddenImports(folder: string, permitted: ReadonlySet<string>): string[] {
  const own = `@ocid/${folder.split("/")[1]}`;
  const files = globSync(`${folder}/src/**/*.ts`, { cwd: repository }).filter(
    path => !path.endsWith(".test.ts"),
  );
  return files.flatMap(path => {
    return importsOf(path)
      .flatMap(name => /^@ocid\/[^/]+/.exec(name)?.[0] ?? [])
      .filter(name => name !== own && !permitted.has(name))
      .map(name => `${path} imports ${name}`);
  });
}
