import { execFileSync } from "node:child_process";
import { globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";

const repository = join(import.meta.dirname, "../../..");

// The first example of each package's README is a program: it is run as a user would run it, from the package's folder.
test.each(globSync("packages/*/README.md", { cwd: repository }).sort())("the example of %s runs", path => {
  const text = readFileSync(join(repository, path), "utf8");
  const example = /^```ts\n([\s\S]*?)^```/m.exec(text)?.[1];
  expect(example, `${path} has no example`).toBeDefined();
  const file = join(repository, dirname(path), `.readme-example-${process.pid}.ts`);
  writeFileSync(file, example!);
  try {
    const output = execFileSync(process.execPath, ["--conditions=@ocid/source", "--no-warnings", file], {
      encoding: "utf8",
      timeout: 60_000,
    });
    expect(output.trim()).not.toBe("");
  } finally {
    rmSync(file);
  }
});
