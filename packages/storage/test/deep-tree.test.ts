import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { expect, test } from "vitest";
import { collect, smallBlob, storeImage } from "./store-fixture.ts";

/** Goes down step by step, as any program in a container may: no single path is too long for it. */
const dig = `
const [levels, width] = process.argv.slice(1).map(Number);
for (let level = 0; level < levels; level++) {
  const name = "d".repeat(width);
  process.getBuiltinModule("fs").mkdirSync(name);
  process.chdir(name);
}
process.getBuiltinModule("fs").writeFileSync(Buffer.from("caf\\xe9", "latin1"), "x".repeat(10000));
`;

test.each([
  ["long names", 60, 250],
  ["many levels", 1500, 2],
])(
  "a container's tree that is deeper than a path can say is counted and removed: %s",
  async (_, levels, width) => {
    const leaks = leakCheck();
    const root = tempRoot("deep-");
    {
      await using store = await openStore({ root: join(root.path, "r"), runRoot: join(root.path, "rr") });
      const image = await storeImage(store, "localhost/deep:1", [smallBlob(root.path, "base")]);
      const id = "d".repeat(64);
      await store.createContainer({ id, name: "deep", imageId: image.id });
      const { path } = await store.mountContainer(id);
      execFileSync(process.execPath, ["-e", dig, "--", String(levels), String(width)], { cwd: path });
      const usage = await store.containerUsage(id);
      expect(usage.inodes).toBe(levels + 1);
      expect(usage.bytes).toBeGreaterThanOrEqual(10_000);
      expect((await store.usage()).containers).toEqual(usage);
      await expect(collect(store.openContainerDiff(id))).rejects.toThrow(/ENAMETOOLONG/);
      await store.removeContainer(id);
      const staging = join(store.root, "overlay/tempdirs");
      expect(existsSync(staging) ? readdirSync(staging) : []).toEqual([]);
    }
    root.remove();
    await leaks.expectClean();
  },
);
