import { extractCodeBlocks } from "./check/code-blocks.ts";
import { checkLayers } from "./check/layers.ts";
import { checkPinned } from "./check/pinned.ts";
import { fail, run } from "./run.ts";

try {
  await run("biome", ["ci", "--error-on-warnings", "."]);
  extractCodeBlocks();
  await run("tsc", ["-p", "tsconfig.json"]);
  await run("tsc", ["-p", "apps/ocid/tsconfig.page.json"]);
  checkLayers();
  checkPinned();
  await run("sh", ["scripts/with-node.sh", "reference/src/api.ts", "--check"]);
  await run("knip", ["--no-progress", "--no-config-hints", "--exclude", "binaries"]);
  console.log(
    "format, lint, types (of code in documents too), layers, pinned dependencies, public interfaces and unused code: all good",
  );
} catch (error) {
  fail(error);
}
