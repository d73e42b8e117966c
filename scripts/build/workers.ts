import { globSync } from "node:fs";
import { basename, join } from "node:path";
import { repository } from "../run.ts";
import { bundle, bundleProgram } from "./bundle.ts";

/** The sources of all threads, as paths in the repository. */
export const workers = (): readonly string[] =>
  globSync("packages/*/src/**/*-worker.ts", { cwd: repository }).sort();

/** Bundles every `*-worker.ts` of the packages, by file name: threads of a program that runs on an installed Node. */
export async function bundleWorkers(): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const path of workers())
    texts[basename(path, ".ts")] = await bundle(join(repository, path), {
      format: "cjs",
      define: { "import.meta.url": "__moduleUrl" },
      banner: { js: 'const __moduleUrl = require("node:url").pathToFileURL(__filename).href;' },
    });
  return texts;
}

/** The same as programs of an executable. */
export async function bundleWorkerPrograms(): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const path of workers()) texts[basename(path, ".ts")] = await bundleProgram(join(repository, path));
  return texts;
}
