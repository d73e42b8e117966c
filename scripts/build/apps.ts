import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { build } from "esbuild";
import { node, repository } from "../run.ts";
import { bundleWorkers } from "./workers.ts";

const apps = ["ocid", "ocic"] as const;

/** Builds `apps/<name>/dist/<name>`, an executable with its own Node, and `<name>.js` for an installed Node. */
export async function buildApps(): Promise<void> {
  const workers = await bundleWorkers();
  for (const name of apps) {
    const dist = join(repository, "apps", name, "dist");
    mkdirSync(dist, { recursive: true });
    const bundle = await bundleApp(name);
    writeFileSync(join(dist, `${name}.js`), bundle, { mode: 0o755 });
    for (const [worker, text] of Object.entries(workers)) writeFileSync(join(dist, `${worker}.cjs`), text);
    writeExecutable(name, dist, bundle, workers);
  }
}

async function bundleApp(name: string): Promise<string> {
  const version = JSON.parse(readFileSync(join(repository, "apps", name, "package.json"), "utf8"))
    .version as string;
  const result = await build({
    entryPoints: [join(repository, "apps", name, "src/main.ts")],
    bundle: true,
    write: false,
    platform: "node",
    format: "esm",
    target: "node26",
    conditions: ["@ocid/source"],
    external: ["koffi"],
    minifySyntax: true,
    legalComments: "none",
    define: { OCID_VERSION: JSON.stringify(version) },
    banner: {
      js: '#!/usr/bin/env node\nimport { createRequire as __createRequire } from "node:module";\nconst require = __createRequire(import.meta.url);',
    },
  });
  return result.outputFiles[0]!.text;
}

function writeExecutable(
  name: string,
  dist: string,
  bundle: string,
  workers: Readonly<Record<string, string>>,
): void {
  const koffi = koffiBinary();
  const executable = join(dist, name);
  const stamp = join(dist, `.${name}.stamp`);
  const hash = createHash("sha256")
    .update(node)
    .update(process.version)
    .update(bundle)
    .update(JSON.stringify(workers))
    .update(koffi);
  const inputs = hash.digest("hex");
  if (existsSync(executable) && existsSync(stamp) && readFileSync(stamp, "utf8") === inputs) return;

  const work = join(dist, ".sea");
  mkdirSync(work, { recursive: true });
  const assets: Record<string, string> = { "koffi.node": koffi };
  writeFileSync(join(work, "main.mjs"), bundle);
  for (const [worker, text] of Object.entries(workers)) {
    assets[`${worker}.cjs`] = join(work, `${worker}.cjs`);
    writeFileSync(join(work, `${worker}.cjs`), text);
  }
  const config = {
    main: join(work, "main.mjs"),
    mainFormat: "module",
    output: join(work, name),
    disableExperimentalSEAWarning: true,
    // Without it a third of a short command is spent on compiling.
    useCodeCache: true,
    execArgvExtension: "none",
    assets,
  };
  writeFileSync(join(work, "sea.json"), JSON.stringify(config));
  execFileSync(node, ["--build-sea", join(work, "sea.json")], { stdio: ["ignore", "ignore", "inherit"] });
  chmodSync(join(work, name), 0o755);
  renameSync(join(work, name), executable);
  rmSync(work, { recursive: true });
  writeFileSync(stamp, inputs);
}

/** The native half of koffi for this machine; it comes as an optional dependency of koffi. */
function koffiBinary(): string {
  const fromHost = createRequire(join(repository, "packages/host/package.json"));
  const fromKoffi = createRequire(fromHost.resolve("koffi"));
  const target = `${process.platform}-${process.arch}`;
  const folder = fromKoffi.resolve(`@koromix/koffi-${target}/package.json`);
  return join(folder, "..", `${process.platform}_${process.arch}`, "koffi.node");
}
