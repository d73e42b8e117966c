import type { BuildOptions, StdinOptions } from "esbuild";
import { build } from "esbuild";

export const bundleOptions: BuildOptions = {
  bundle: true,
  platform: "node",
  target: "node26",
  conditions: ["@ocid/source"],
  external: ["koffi"],
  minifySyntax: true,
  legalComments: "none",
  charset: "ascii",
};

/** One text of a module, a file or itself a text, and all that it imports. */
export async function bundle(entry: string | StdinOptions, options: BuildOptions): Promise<string> {
  const from = typeof entry === "string" ? { entryPoints: [entry] } : { stdin: entry };
  const result = await build({ ...bundleOptions, ...from, write: false, ...options });
  return result.outputFiles![0]!.text;
}

/**
 * The same for an executable: an expression that is a function of `require` and of the file that stands for the program.
 * Without what only people read, because all of it is read at each start.
 */
export async function bundleProgram(
  entry: string,
  define: Readonly<Record<string, string>> = {},
): Promise<string> {
  return await bundle(entry, {
    format: "cjs",
    minifyWhitespace: true,
    define: { ...define, "import.meta.url": "__moduleUrl" },
    banner: {
      js: '(function(require,__filename){const module={exports:{}},exports=module.exports,__moduleUrl=require("node:url").pathToFileURL(__filename).href;',
    },
    footer: { js: "})" },
  });
}
