import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildDebianPackage } from "./package/debian.ts";
import { sbomOf } from "./package/sbom.ts";
import { fail, repository } from "./run.ts";

// Makes the Debian package of what `npm run build` has built, and lists beside each executable what is in it.
try {
  const path = await buildDebianPackage(join(repository, "dist"));
  for (const app of ["ocid", "ocic"])
    writeFileSync(join(repository, "apps", app, "dist", `${app}.cdx.json`), await sbomOf(app));
  console.log(`${path} (${(statSync(path).size / 2 ** 20).toFixed(1)} MiB)`);
} catch (error) {
  fail(error);
}
