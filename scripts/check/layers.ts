import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
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
  "apps/ocic": ["base", "spec", "host", "streaming", "cri-api", "registry", "layer", "image-copy", "storage"],
};

/** Fails with every import that goes up or sideways, and every dependency that is declared so. */
export function checkLayers(): void {
  const wrong = Object.entries(allowed).flatMap(([folder, layers]) => {
    const permitted = new Set(layers.map(name => `@ocid/${name}`));
    return [...forbiddenDependencies(folder, permitted), ...forbiddenImports(folder, permitted)];
  });
  if (wrong.length > 0)
    throw new Error(`layers: a package may use only what stands below it:\n  ${wrong.join("\n  ")}`);
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
    const text = readFileSync(join(repository, path), "utf8");
    const imports = [...text.matchAll(/(?:from|import)\s*\(?\s*"(@ocid\/[^"/]+)/g)].map(match => match[1]!);
    return imports
      .filter(name => name !== own && !permitted.has(name))
      .map(name => `${path} imports ${name}`);
  });
}
