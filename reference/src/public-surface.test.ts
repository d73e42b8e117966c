import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readSurface } from "./public-surface.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "surface-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function surfaceOf(files: Readonly<Record<string, string>>): Record<string, string> {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return Object.fromEntries(readSurface(join(folder, "index.d.ts")));
}

test("has what is exported by name, under another name and by star, with all its overloads", () => {
  const surface = surfaceOf({
    "index.d.ts": `export { a, type B as C } from "./one.ts";\nexport type * from "./two.ts";\nexport {};\n`,
    "one.d.ts": `declare const hidden: 1;\nexport declare function a(): void;\nexport declare function a(b: 1): void;\nexport type B = 1;\n`,
    "two.d.ts": "export interface D {\n    readonly e: 1;\n}\n",
  });
  expect(surface).toEqual({
    a: "export declare function a(): void;\nexport declare function a(b: 1): void;",
    C: "// C is:\nexport type B = 1;",
    D: "export interface D {\n    readonly e: 1;\n}",
  });
});

test("overlooks nothing silently", () => {
  expect(() =>
    surfaceOf({ "index.d.ts": `export { gone } from "./one.ts";`, "one.d.ts": "export {};" }),
  ).toThrow("no declaration of gone");
  expect(() => surfaceOf({ "index.d.ts": `import { a } from "./one.ts";\nexport { a };` })).toThrow(
    "has no place that it exports from",
  );
});
