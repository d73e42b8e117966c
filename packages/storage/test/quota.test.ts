import { join } from "node:path";
import { openStore } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { expect, test } from "vitest";
import { smallBlob, storeImage } from "./store-fixture.ts";

// What limits do where there are some is tested under a kernel that has them: test/e2e/lane/quota.test.ts.
test("a file system without project quotas is told of, with what to do, and works without limits", async () => {
  const leaks = leakCheck();
  const root = tempRoot("quota-");
  const places = { root: join(root.path, "r"), runRoot: join(root.path, "rr") };
  await expect(openStore({ ...places, quota: { bytes: 1024 ** 3 } })).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    reason: "NoProjectQuotas",
    message: expect.stringMatching(/^the file system of \S+\/r\/overlay \(\w+ of \S+ on \/\S*\) .*prjquota/),
  });
  {
    await using store = await openStore(places);
    const image = await storeImage(store, "localhost/q:1", [smallBlob(root.path, "base")]);
    const { id } = await store.createContainer({ id: "a".repeat(64), name: "a", imageId: image.id });
    expect(await store.containerUsage(id)).toEqual({ bytes: 0, inodes: 0 });
    await store.removeContainer(id);
  }
  root.remove();
  await leaks.expectClean();
});
