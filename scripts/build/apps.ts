import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { createImageClient, createRuntimeClient } from "@ocid/cri-api";
import { node, repository } from "../run.ts";
import { bundle, bundleProgram } from "./bundle.ts";
import { makeCodeCaches, type Warming } from "./code-cache.ts";
import { startText } from "./executable-main.ts";
import { type BuildTarget, nativeTarget } from "./target.ts";
import { bundleWorkerPrograms, bundleWorkers } from "./workers.ts";

const apps: Readonly<Record<string, Warming>> = {
  ocid: {
    args: [
      ...["--root", "DIR/r", "--runroot", "DIR/rr", "--state-dir", "DIR/state", "--listen", "DIR/ocid.sock"],
      ...["--cni-config-dir", "DIR/net.d", "--nri-socket", "DIR/nri.sock"],
    ],
    ask: askDaemon,
    // A node's memory is for its pods. What calls make is dropped at once; V8 would come to three times 16 MB for it, and
    // keep them. And where there is much memory it lets a heap grow to four times of what lives in it before it collects.
    node: ["--max-semi-space-size=2", "--heap-growing-percent=50"],
  },
  ocic: {
    args: ["--root", "DIR/r", "--runroot", "DIR/rr", "--tls-verify=false", "pull", "IMAGE"],
    // What a command makes is dropped at once: room for more of it is memory for nothing (docs/design/performance.md).
    node: ["--max-semi-space-size=1"],
  },
};

/** What each node asks of a daemon that has just been started. */
async function askDaemon(directory: string, image: string): Promise<void> {
  using runtime = createRuntimeClient(join(directory, "ocid.sock"));
  using images = createImageClient(join(directory, "ocid.sock"));
  await runtime.version({});
  await runtime.status({});
  await runtime.listPodSandbox({});
  await runtime.listContainers({});
  await images.pullImage({ image: { image } });
  await images.listImages({});
}

/** Where the executable of a program for a machine is. */
export function executablePath(name: string, { architecture, isNative }: BuildTarget): string {
  return join(repository, "apps", name, "dist", isNative ? name : `${name}-${architecture}`);
}

/** Builds `apps/<name>/dist/<name>`, an executable with its own Node, and `<name>.js` for an installed Node. */
export async function buildApps(target: BuildTarget = nativeTarget()): Promise<void> {
  const workers = await bundleWorkers();
  const workerPrograms = await bundleWorkerPrograms();
  for (const [name, app] of Object.entries(apps)) {
    const entry = join(repository, "apps", name, "src/main.ts");
    const dist = join(repository, "apps", name, "dist");
    mkdirSync(dist, { recursive: true });
    const define = { OCID_VERSION: JSON.stringify(versionOf(name)) };
    writeFileSync(join(dist, `${name}.js`), await bundleModule(entry, define), { mode: 0o755 });
    for (const [worker, text] of Object.entries(workers)) writeFileSync(join(dist, `${worker}.cjs`), text);
    const files = staticFiles(name);
    copyStatic(files, dist);
    const programs = { main: await bundleProgram(entry, define), ...workerPrograms };
    await writeExecutable(executablePath(name, target), { target, programs, files, app });
  }
}

/** Files that a program serves as they are: `static/NAME` in the executable, and beside the bundled program. */
function staticFiles(name: string): Readonly<Record<string, string>> {
  const paths = globSync(`apps/${name}/src/**/static/*.{html,css,js,svg}`, { cwd: repository }).sort();
  return Object.fromEntries(paths.map(path => [`static/${basename(path)}`, join(repository, path)]));
}

function copyStatic(files: Readonly<Record<string, string>>, dist: string): void {
  rmSync(join(dist, "static"), { recursive: true, force: true });
  for (const [name, path] of Object.entries(files)) {
    mkdirSync(join(dist, "static"), { recursive: true });
    copyFileSync(path, join(dist, name));
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

interface ExecutableParts {
  readonly target: BuildTarget;
  /** Texts by name; `main` and those of its threads. */
  readonly programs: Readonly<Record<string, string>>;
  /** Paths by the name of the asset. */
  readonly files: Readonly<Record<string, string>>;
  readonly app: Warming;
}

async function writeExecutable(
  executable: string,
  { target, programs, files, app }: ExecutableParts,
): Promise<void> {
  const { koffi, isNative } = target;
  const [dist, name] = [dirname(executable), basename(executable)];
  const stamp = join(dist, `.${name}.stamp`);
  const hash = createHash("sha256");
  for (const part of [
    target.node,
    process.version,
    startText("", isNative),
    JSON.stringify(app),
    String(app.ask),
    JSON.stringify(programs),
    koffi,
  ])
    hash.update(part);
  for (const [asset, path] of Object.entries(files)) hash.update(asset).update(readFileSync(path));
  const inputs = hash.digest("hex");
  if (existsSync(executable) && existsSync(stamp) && readFileSync(stamp, "utf8") === inputs) return;

  const work = join(dist, `.${name}.sea`);
  mkdirSync(work, { recursive: true });
  const assets: Record<string, string> = { "koffi.node": koffi, ...files };
  const add = (asset: string, content: string | Uint8Array) => {
    assets[asset] = join(work, asset);
    writeFileSync(join(work, asset), content);
  };
  const caches = isNative ? await makeCodeCaches(programs, app) : {};
  for (const [program, text] of Object.entries(programs)) {
    add(`${program}.text`, text);
    if (caches[program]) add(`${program}.cache`, caches[program]);
    if (program !== "main") add(`${program}.cjs`, startText(program, isNative));
  }
  writeFileSync(join(work, "start.cjs"), startText("main", isNative));
  const config = {
    main: join(work, "start.cjs"),
    output: join(work, name),
    executable: target.node,
    disableExperimentalSEAWarning: true,
    execArgv: app.node,
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
