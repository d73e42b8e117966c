import { execFileSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packAll } from "./package/npm-packages.ts";
import { fail, repository, run } from "./run.ts";

// `npm run release -- --dry-run` shows what would be published: versions now and after the changesets, and sizes.
// `npm run release` publishes what `changeset version` has given a version that the registry does not have.
try {
  if (process.argv.includes("--dry-run")) show();
  else await run("changeset", ["publish"]);
} catch (error) {
  fail(error);
}

function show(): void {
  const work = mkdtempSync(join(tmpdir(), "ocid-release-"));
  try {
    const next = nextVersions(join(work, "status.json"));
    for (const { name, version, packedBytes, files } of packAll(work)) {
      const change = next.has(name) ? `${version} -> ${next.get(name)}` : version;
      console.log(
        `${name.padEnd(20)} ${change.padEnd(20)} ${String(Math.ceil(packedBytes / 1024)).padStart(6)} KiB, ${files.length} files`,
      );
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function nextVersions(file: string): ReadonlyMap<string, string> {
  // Without changesets there is nothing to come, which changeset calls a mistake.
  if (globSync(".changeset/*.md", { cwd: repository }).length === 0) return new Map();
  const changeset = join(repository, "node_modules/.bin/changeset");
  execFileSync(changeset, ["status", "--output", file], { cwd: repository, stdio: "ignore" });
  const { releases } = JSON.parse(readFileSync(file, "utf8")) as {
    releases: { name: string; newVersion: string; type: string }[];
  };
  return new Map(
    releases.filter(({ type }) => type !== "none").map(({ name, newVersion }) => [name, newVersion]),
  );
}
