import { join } from "node:path";
import type { Plugin } from "esbuild";
import { bundle } from "../build/bundle.ts";
import { repository } from "../run.ts";

/**
 * One text of a test file and all that it imports, for a bare Node: under emulation vitest itself, which reads and
 * translates hundreds of files, would take longer than the tests. They are run by Node's own runner instead
 * (`vitest-in-guest.ts`), as one suite, because the failure of a hook outside of suites would go unnoticed there.
 */
export function bundleTest(test: string): Promise<string> {
  const entry = `import { describe } from "node:test";
describe(${JSON.stringify(test)}, async () => { await import(${JSON.stringify(`./${test}`)}); });`;
  return bundle(
    { contents: entry, resolveDir: repository, loader: "ts" },
    {
      format: "esm",
      plugins: [vitestInGuest],
      banner: {
        js: 'import { createRequire as __createRequire } from "node:module";\nconst require = __createRequire(import.meta.url);',
      },
    },
  );
}

const runner = join(import.meta.dirname, "vitest-in-guest.ts");

/** Everybody's `vitest` is the guest's runner, but the runner's own. */
const vitestInGuest: Plugin = {
  name: "vitest-in-guest",
  setup(build) {
    build.onResolve({ filter: /^vitest$/ }, ({ importer }) =>
      importer === runner ? undefined : { path: runner },
    );
  },
};
