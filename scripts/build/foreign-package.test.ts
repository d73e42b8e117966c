import { expect, test } from "vitest";
import { checkIntegrity } from "./foreign-package.ts";
import { lockedIntegrity } from "./locked-integrity.ts";
import { nodePackages, targetFor } from "./target.ts";

test("a tarball that is another one than was pinned is refused", () => {
  const good =
    "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==";
  checkIntegrity("x", new Uint8Array(), good);
  expect(() => checkIntegrity("x", Buffer.from("y"), good)).toThrow(/x is not what it should be/);
});

test("the lock file knows koffi for other architectures", () => {
  expect(lockedIntegrity("@koromix/koffi-linux-arm64", "3.3.4")).toMatch(/^sha512-/);
  expect(() => lockedIntegrity("nothing", "1.0.0")).toThrow("no integrity of nothing@1.0.0");
});

test("a machine that nothing is built for is named", async () => {
  await expect(targetFor("mips")).rejects.toThrow(/no executables for mips \(known: /);
});

test("Node for other machines is the Node of this one", () => {
  expect(Object.values(nodePackages).map(({ version }) => `v${version}`)).toEqual([process.version]);
});
