import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildApps, executablePath } from "./build/apps.ts";
import { targetFor } from "./build/target.ts";
import { buildDebianPackage } from "./package/debian.ts";
import { sbomOf } from "./package/sbom.ts";
import { fail, repository } from "./run.ts";

// npm run package:deb -- [--arch arm64]: makes the Debian package of what `npm run build` has built, or of executables for
// another machine, which it builds itself, and lists beside each executable what is in it.
try {
  const { values } = parseArgs({ options: { arch: { type: "string", default: process.arch } } });
  const target = await targetFor(values.arch === "amd64" ? "x64" : values.arch);
  if (!target.isNative) await buildApps(target);
  const path = await buildDebianPackage(join(repository, "dist"), { target });
  for (const app of ["ocid", "ocic"])
    writeFileSync(`${executablePath(app, target)}.cdx.json`, await sbomOf(app, target));
  console.log(`${path} (${(statSync(path).size / 2 ** 20).toFixed(1)} MiB)`);
} catch (error) {
  fail(error);
}
