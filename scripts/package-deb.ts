import { statSync } from "node:fs";
import { join } from "node:path";
import { buildDebianPackage } from "./package/debian.ts";
import { fail, repository } from "./run.ts";

// Makes the Debian package of what `npm run build` has built.
try {
  const path = await buildDebianPackage(join(repository, "dist"));
  console.log(`${path} (${(statSync(path).size / 2 ** 20).toFixed(1)} MiB)`);
} catch (error) {
  fail(error);
}
