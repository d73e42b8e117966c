import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildDebianPackage } from "../package/debian.ts";
import { repository } from "../run.ts";
import { imageDirectory, makeFileSystem } from "./base-image.ts";
import type { Plan } from "./plan.ts";

/** Tools for developers that no test starts. */
const notNeeded =
  /^(@biomejs|@bufbuild\+buf-|@changesets|@pnpm\+exe|pnpm@|@turbo|turbo@|typescript@|@typescript|knip@)/;

/** A file system with the repository, its dependencies the built executables, the package, and what is to be run. */
export async function repositoryImage(plan: Plan): Promise<string> {
  const stage = join(imageDirectory, "stage");
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(join(stage, "node_modules/.pnpm"), { recursive: true });
  // Hard links: nothing is copied but into the image.
  const link = (names: readonly string[], to: string) =>
    execFileSync("cp", ["-al", ...names, to], { cwd: repository });
  const tracked = execFileSync("git", ["ls-tree", "--name-only", "HEAD"], {
    cwd: repository,
    encoding: "utf8",
  });
  link(tracked.trim().split("\n"), stage);
  const modules = (folder: string, names: readonly string[]) =>
    link(
      names.map(name => join(folder, name)),
      join(stage, folder),
    );
  const top = readdirSync(join(repository, "node_modules"));
  modules(
    "node_modules",
    top.filter(name => ![".pnpm", ".cache", ".vite"].includes(name)),
  );
  const store = readdirSync(join(repository, "node_modules/.pnpm"));
  modules(
    "node_modules/.pnpm",
    store.filter(name => !notNeeded.test(name)),
  );
  await buildDebianPackage(stage, { compression: "none" });
  writeFileSync(join(stage, "lane-plan.json"), JSON.stringify(plan));
  const image = join(imageDirectory, "repo.ext4");
  await makeFileSystem(image, "repo", stage, "4G");
  rmSync(stage, { recursive: true, force: true });
  return image;
}
