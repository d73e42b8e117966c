import { checkLayers } from "./check/layers.ts";
import { fail, run } from "./run.ts";

try {
  await run("biome", ["ci", "--error-on-warnings", "."]);
  await run("tsc", ["-p", "tsconfig.json"]);
  await run("tsc", ["-p", "apps/ocid/tsconfig.page.json"]);
  checkLayers();
  await run("knip", ["--no-progress", "--no-config-hints", "--exclude", "binaries"]);
  console.log("format, lint, types, layers and unused code: all good");
} catch (error) {
  fail(error);
}
