import { execFileSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { tempRoot } from "@ocid/testkit";
import { afterAll, expect, test } from "vitest";
import { doors } from "../../../reference/src/doors.ts";

const root = tempRoot("e2e-reference-");
afterAll(() => root.remove());

test("the reference has a page for each package and each document, and loads nothing from elsewhere", () => {
  const repository = join(import.meta.dirname, "../../..");
  // Fails by itself with links that lead nowhere, and with types that are spoken of and not exported.
  execFileSync(
    process.execPath,
    ["--conditions=@ocid/source", join(repository, "reference/src/main.ts"), root.path],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const pages = globSync("**/*.html", { cwd: root.path });
  const titles = pages.map(page => /<title>(.*?) \| OCID</.exec(read(page))?.[1]);
  expect(titles).toEqual(expect.arrayContaining(doors().map(({ name }) => name)));
  for (const path of globSync("docs/**/*.md", { cwd: repository })) {
    const heading = /^# (.*)$/m.exec(readFileSync(join(repository, path), "utf8"))![1]!;
    expect(titles, path).toContain(heading.replaceAll("'", "&#39;"));
  }
  const foreign = pages.filter(page => /<(script|link|img)[^>]+(src|href)="(https?:)?\/\//.test(read(page)));
  expect(foreign).toEqual([]);
}, 600_000);

const read = (page: string) => readFileSync(join(root.path, page), "utf8");
