import { globSync } from "node:fs";
import { basename, join } from "node:path";
import { build } from "esbuild";
import { repository } from "../run.ts";

/** Bundles every `*-worker.ts` of the packages; an executable starts worker threads from these texts, by file name. */
export async function bundleWorkers(): Promise<Record<string, string>> {
  const workers: Record<string, string> = {};
  for (const path of globSync("packages/*/src/**/*-worker.ts", { cwd: repository })) {
    const result = await build({
      entryPoints: [join(repository, path)],
      bundle: true,
      write: false,
      platform: "node",
      format: "cjs",
      target: "node26",
      conditions: ["@ocid/source"],
      external: ["koffi"],
      minifySyntax: true,
      legalComments: "none",
      // Within an executable a worker has no file of its own.
      define: { "import.meta.url": "__moduleUrl" },
      banner: { js: 'const __moduleUrl = require("node:url").pathToFileURL(process.execPath).href;' },
    });
    workers[basename(path, ".ts")] = result.outputFiles[0]!.text;
  }
  return workers;
}
