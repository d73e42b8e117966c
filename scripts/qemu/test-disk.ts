import { cpSync, linkSync, mkdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { bundle } from "../build/bundle.ts";
import { bundleWorkers } from "../build/workers.ts";
import { buildDebianPackage } from "../package/debian.ts";
import { node, repository } from "../run.ts";
import { imageDirectory, makeFileSystem } from "./base-image.ts";
import { bundleTest } from "./bundle-test.ts";
import type { Plan } from "./plan.ts";

/**
 * A file system with what runs in the guest, each where it is in the repository: the built executables, the tests with
 * all that they import, Node, the package, and the plan.
 */
export async function testDisk(plan: Plan): Promise<string> {
  const stage = join(imageDirectory, "stage");
  rmSync(stage, { recursive: true, force: true });
  const put = (path: string, text: string) => {
    mkdirSync(dirname(join(stage, path)), { recursive: true });
    writeFileSync(join(stage, path), text);
  };
  // Hard links: nothing large is copied but into the file system.
  const link = (from: string, path: string) => {
    mkdirSync(dirname(join(stage, path)), { recursive: true });
    linkSync(from, join(stage, path));
  };
  link(node, "node");
  for (const app of ["apps/ocid/dist/ocid", "apps/ocic/dist/ocic"]) link(join(repository, app), app);
  link(join(repository, "packaging/10-ocid-bridge.conflist.example"), "10-ocid-bridge.conflist");
  await buildDebianPackage(stage, { compression: "none" });
  copyKoffi(join(stage, "node_modules"));

  link(join(import.meta.dirname, "guest.sh"), "guest.sh");
  put("guest.mjs", await bundle(join(import.meta.dirname, "guest.ts"), { format: "esm" }));
  put("plan.json", JSON.stringify(plan));
  const workers = Object.entries(await bundleWorkers());
  const tests = new Set(plan.setups.flatMap(setup => setup.tests));
  for (const test of tests) {
    put(bundled(test), await bundleTest(test));
    for (const [name, text] of workers) put(join(dirname(test), `${name}.cjs`), text);
  }
  const image = join(imageDirectory, "tests.ext4");
  await makeFileSystem(image, "tests", stage, "2G");
  rmSync(stage, { recursive: true, force: true });
  return image;
}

/** Where the text of a test with all that it imports is. */
export function bundled(test: string): string {
  return test.replace(/\.ts$/, ".mjs");
}

/** koffi and its binary, which no bundle can hold. */
function copyKoffi(modules: string): void {
  const koffi = realpathSync(join(repository, "packages/host/node_modules/koffi"));
  const binary = `@koromix/koffi-${process.platform}-${process.arch}`;
  mkdirSync(join(modules, "@koromix"), { recursive: true });
  for (const name of ["koffi", binary])
    cpSync(join(koffi, "..", name), join(modules, name), { recursive: true, dereference: true });
}
