import { expect, test } from "vitest";
import { looseVersions, withoutIntegrity } from "./pinned.ts";

test("a range in the catalog is found", () => {
  expect(looseVersions('a: 1\ncatalog:\n  "@a/b": 1.2.3\n  c: ^1.2.3\n  d: 1.0.0-rc.1\n')).toEqual([
    "pnpm-workspace.yaml: c is ^1.2.3, not one version",
  ]);
});

test("a package without integrity is found", () => {
  const good = `  'a@1.0.0':\n    resolution: {integrity: sha512-${"A".repeat(86)}==}\n`;
  const bad = "  b@https://example.org/b.tgz:\n    resolution: {tarball: https://example.org/b.tgz}\n";
  expect(withoutIntegrity(`\npackages:\n\n${good}\n${bad}\nsnapshots:\n`)).toEqual([
    "pnpm-lock.yaml: b@https://example.org/b.tgz has no integrity ({tarball: https://example.org/b.tgz})",
  ]);
});
