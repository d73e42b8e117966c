import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { tempRoot } from "@ocid/testkit";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  installPacked,
  type PackedPackage,
  packAll,
  readmeExample,
} from "../../../scripts/package/npm-packages.ts";
import sizes from "./package-sizes.json" with { type: "json" };

// Outside of the workspace, so that nothing is found that a stranger would not have.
const root = tempRoot("e2e-npm-");
const packages = packAll(join(root.path, "packed"));
const libraries = packages.filter(({ folder }) => folder.startsWith("packages/"));
const project = join(root.path, "project");

beforeAll(() => installPacked(project, packages));
afterAll(() => root.remove());

const cases = (list: readonly PackedPackage[]) => list.map(found => [found.name, found] as const);

describe.each(cases(packages))("%s", (_, { name, files, manifest, tarball, packedBytes }) => {
  test("has its licence, its changelog, its README and nothing of its tests", () => {
    expect(files).toEqual(expect.arrayContaining(["CHANGELOG.md", "LICENSE", "README.md", "package.json"]));
    expect(files.filter(path => /\.test\.|^src\/|^test\/|\.tsbuildinfo$/.test(path))).toEqual([]);
    expect(manifest).toMatchObject({
      license: "Apache-2.0",
      engines: { node: expect.stringMatching(/^>=24/) },
    });
    expect(JSON.stringify(manifest["dependencies"] ?? {})).not.toMatch(/workspace:|catalog:|testkit/);
  });

  test("is packed as publint wants it", async () => {
    const data = readFileSync(tarball);
    const bytes = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
    const { messages, pkg } = await publint({ pack: { tarball: bytes }, strict: true });
    expect(messages.map(message => formatMessage(message, pkg))).toEqual([]);
  });

  test("is not much larger than it was", () => {
    const known = (sizes as Readonly<Record<string, number>>)[name];
    expect(
      known,
      `${name} is missing in package-sizes.json (${Math.ceil(packedBytes / 1024)} KiB)`,
    ).toBeDefined();
    expect(packedBytes / 1024).toBeLessThan(known! * 1.25 + 4);
  });
});

describe.each(cases(libraries))("%s, installed", (_, { name, folder, manifest, tarball }) => {
  test("has types that resolve", async () => {
    const packed = createPackageFromTarballData(readFileSync(tarball));
    const result = await checkPackage(packed);
    // For Node and bundlers as ES modules, which is all that there is of it.
    const problems = result.types === false ? ["no types"] : result.problems;
    expect(
      problems.filter(
        problem =>
          typeof problem === "string" ||
          !("resolutionKind" in problem && /^node10$|^node16-cjs$/.test(problem.resolutionKind)),
      ),
    ).toEqual([]);
  });

  test("loads nothing that is not there, from each of its doors", () => {
    const doors = Object.keys(manifest["exports"] as object).filter(door => !door.endsWith(".json"));
    const program = doors.map(door => `await import(${JSON.stringify(join(name, door))});`).join("\n");
    execFileSync(process.execPath, ["--input-type=module", "-e", program], { cwd: project });
  });

  test("runs the example of its README", () => {
    const file = join(project, `${name.replace(/\W+/g, "-")}.ts`);
    writeFileSync(file, readmeExample(folder)!);
    const output = execFileSync(process.execPath, ["--no-warnings", file], {
      cwd: project,
      encoding: "utf8",
      timeout: 60_000,
    });
    expect(output.trim()).not.toBe("");
  });
});

test.each(["ocid", "ocic"])("%s is a command after npm install", name => {
  const command = join(project, "node_modules/.bin", name);
  expect(execFileSync(process.execPath, [command, "--version"], { encoding: "utf8" })).toMatch(
    /\d+\.\d+\.\d+/,
  );
});
