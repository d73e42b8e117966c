import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unmount } from "@ocid/host";
import { openStore } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { expect, test } from "vitest";
import { smallBlob, storeImage } from "./store-fixture.ts";

test.each([
  ["volatile", ["volatile"]],
  ["as others are", []],
])("a container that was mounted volatile is mounted again after any end, %s", async (_, again) => {
  const leaks = leakCheck();
  const root = tempRoot("volatile-");
  const places = { root: join(root.path, "r"), runRoot: join(root.path, "rr") };
  const id = "a".repeat(64);
  let mark = "";
  {
    await using store = await openStore({ ...places, mountOptions: ["volatile"] });
    const image = await storeImage(store, "localhost/v:1", [smallBlob(root.path, "base")]);
    const { layerId } = await store.createContainer({ id, name: "a", imageId: image.id });
    mark = join(store.root, "overlay", layerId, "work/work/incompat/volatile");
    const { path } = await store.mountContainer(id);
    writeFileSync(join(path, "file"), "kept");
    expect(existsSync(mark)).toBe(true);
    // Nobody takes the count away, as when the machine dies; the kernel leaves its mark in any case.
    unmount(path);
    expect(existsSync(mark)).toBe(true);
  }
  {
    await using store = await openStore({ ...places, mountOptions: again });
    const { path } = await store.mountContainer(id);
    expect(readFileSync(join(path, "file"), "utf8")).toBe("kept");
    expect(existsSync(mark)).toBe(again.length > 0);
    await store.removeContainer(id);
  }
  root.remove();
  await leaks.expectClean();
});
