import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker, type WorkerOptions } from "node:worker_threads";
import { embeddedWorker } from "./embedded.ts";

/**
 * Starts a worker thread from a module beside the caller. A source that the executable carries (`provideEmbedded`, or
 * the asset `<name>.cjs` of a single executable) comes first; then the file `<name>.cjs` beside a bundled program; else
 * it is `url` itself, whose `.ts` stands for the compiled `.js` where there is no source.
 */
export function launchWorker(
  name: string,
  url: URL,
  options: Pick<WorkerOptions, "workerData" | "resourceLimits"> = {},
): Worker {
  const embedded = embeddedWorker(name);
  if (embedded !== undefined) return new Worker(embedded, { ...options, eval: true, name });
  const bundled = new URL(`./${name}.cjs`, url);
  if (existsSync(bundled)) return new Worker(bundled, { ...options, name });
  if (existsSync(fileURLToPath(url))) {
    const execArgv = url.pathname.endsWith(".ts") ? ["--conditions=@ocid/source", "--no-warnings"] : [];
    return new Worker(url, { ...options, name, execArgv });
  }
  return new Worker(new URL(url.href.replace(/\.ts$/, ".js")), { ...options, name });
}
