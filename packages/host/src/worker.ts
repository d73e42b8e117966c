import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker, type WorkerOptions } from "node:worker_threads";

/**
 * Starts a worker thread from a module beside the caller. In a single executable the module is the asset
 * `<name>.cjs`; beside a bundled program it is the file of that name; else it is `url` itself, whose `.ts` stands for
 * the compiled `.js` where there is no source.
 */
export function launchWorker(
  name: string,
  url: URL,
  options: Pick<WorkerOptions, "workerData"> = {},
): Worker {
  const sea = process.getBuiltinModule("node:sea");
  if (sea.isSea()) return new Worker(sea.getAsset(`${name}.cjs`, "utf8"), { ...options, eval: true, name });
  const bundled = new URL(`./${name}.cjs`, url);
  if (existsSync(bundled)) return new Worker(bundled, { ...options, name });
  if (existsSync(fileURLToPath(url))) {
    const execArgv = url.pathname.endsWith(".ts") ? ["--conditions=@ocid/source", "--no-warnings"] : [];
    return new Worker(url, { ...options, name, execArgv });
  }
  return new Worker(new URL(url.href.replace(/\.ts$/, ".js")), { ...options, name });
}
