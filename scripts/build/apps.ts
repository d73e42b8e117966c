import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { node, repository } from "../run.ts";
import { bundle, bundleProgram } from "./bundle.ts";
import { makeCodeCaches } from "./code-cache.ts";
import { startText } from "./executable-main.ts";
import { koffiBinary } from "./koffi-binary.ts";
import { bundleWorkerPrograms, bundleWorkers } from "./workers.ts";

/** What each is run with, once, so that its code cache holds what most runs need. */
const apps: Readonly<Record<string, readonly string[]>> = {
  ocid: ["--help"],
  ocic: ["--root", "DIR/r", "--runroot", "DIR/rr", "--tls-verify=false", "pull", "IMAGE"],
};

/** Builds `apps/<name>/dist/<name>`, an executable with its own Node, and `<name>.js` for an installed Node. */
export async function buildApps(): Promise<void> {
  const workers = await bundleWorkers();
  const workerPrograms = await bundleWorkerPrograms();
  for (const [name, args] of Object.entries(apps)) {
    const entry = join(repository, "apps", name, "src/main.ts");
    const dist = join(repository, "apps", name, "dist");
    mkdirSync(dist, { recursive: true });
    const define = { OCID_VERSION: JSON.stringify(versionOf(name)) };
    writeFileSync(join(dist, `${name}.js`), await bundleModule(entry, define), { mode: 0o755 });
    for (const [worker, text] of Object.entries(workers)) writeFileSync(join(dist, `${worker}.cjs`), text);
    await writeExecutable(name, dist, { main: await bundleProgram(entry, define), ...workerPrograms }, args);
  }
}

function versionOf(name: string): string {
  return JSON.parse(readFileSync(join(repository, "apps", name, "package.json"), "utf8")).version as string;
}

function bundleModule(entry: string, define: Readonly<Record<string, string>>): Promise<string> {
  return bundle(entry, {
    format: "esm",
    define,
    banner: {
      js: '#!/usr/bin/env node\nimport { createRequire as __createRequire } from "node:module";\nconst require = __createRequire(import.meta.url);',
    },
  });
}

async function writeExecutable(
  name: string,
  dist: string,
  programs: Readonly<Record<string, string>>,
  args: readonly string[],
): Promise<void> {
  const koffi = koffiBinary();
  const executable = join(dist, name);
  const stamp = join(dist, `.${name}.stamp`);
  const hash = createHash("sha256");
  for (const part of [node, process.version, startText(""), args.join(" "), JSON.stringify(programs), koffi])
    hash.update(part);
  const inputs = hash.digest("hex");
  if (existsSync(executable) && existsSync(stamp) && readFileSync(stamp, "utf8") === inputs) return;

  const work = join(dist, ".sea");
  mkdirSync(work, { recursive: true });
  const assets: Record<string, string> = { "koffi.node": koffi };
  const add = (asset: string, content: string | Uint8Array) => {
    assets[asset] = join(work, asset);
    writeFileSync(join(work, asset), content);
  };
  const caches = await makeCodeCaches(programs, args);
  for (const [program, text] of Object.entries(programs)) {
    add(`${program}.text`, text);
    add(`${program}.cache`, caches[program]!);
    if (program !== "main") add(`${program}.cjs`, startText(program));
  }
  writeFileSync(join(work, "start.cjs"), startText("main"));
  const config = {
    main: join(work, "start.cjs"),
    output: join(work, name),
    disableExperimentalSEAWarning: true,
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
