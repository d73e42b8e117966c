import { existsSync } from "node:fs";
import { join } from "node:path";
import { copyImage, createRegistryDestination, importImage } from "@ocid/image-copy";
import { createRegistryClient } from "@ocid/registry";
import { type ImageExecution, parseReference } from "@ocid/spec";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

let daemon: DaemonUnderTest;
const { pod, container, started, exec, remove, status } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

const secured = (securityContext: object) => ({ linux: { securityContext } });

/** Pulls an image of the test's root file system with another config. */
async function imageWith(name: string, config: ImageExecution): Promise<string> {
  const reference = `${daemon.registry}/test/${name}:1`;
  await using client = createRegistryClient({ tlsVerify: false });
  await using source = await importImage(join(daemon.root, "rootfs"), { config });
  await copyImage(source, createRegistryDestination(client, parseReference(reference)));
  await daemon.images.pullImage({ image: { image: reference } });
  return reference;
}

describe("a container's process", () => {
  test("keeps ambient capabilities without being root", async () => {
    const p = await pod("ambient");
    const capabilities = { dropCapabilities: ["ALL"], addAmbientCapabilities: ["NET_BIND_SERVICE"] };
    const c = await started(p, "c", secured({ runAsUser: { value: 1234n }, capabilities }));
    expect(await exec(c, "grep", "-E", "CapEff|CapAmb|CapBnd", "/proc/1/status")).toBe(
      "CapEff:\t0000000000000400\nCapBnd:\t0000000000000400\nCapAmb:\t0000000000000400",
    );
    const plain = await started(p, "plain", secured({ runAsUser: { value: 1234n } }));
    expect(await exec(plain, "grep", "-E", "CapEff|CapAmb", "/proc/1/status")).toBe(
      "CapEff:\t0000000000000000\nCapAmb:\t0000000000000000",
    );
    await remove(p);
  });

  test("is in the image's groups, unless only the asked ones count; the status says which", async () => {
    const p = await pod("groups");
    const user = { runAsUser: { value: 1000n }, supplementalGroups: [3000n] };
    const merged = await started(p, "merged", secured(user));
    const strict = await started(p, "strict", secured({ ...user, supplementalGroupsPolicy: 1 }));
    expect(await exec(merged, "id", "-G")).toBe("1000 2000 3000");
    expect(await exec(strict, "id", "-G")).toBe("1000 3000");
    expect((await status(strict)).user?.linux).toMatchObject({
      uid: 1000n,
      gid: 1000n,
      supplementalGroups: [1000n, 3000n],
    });
    await remove(p);
  });

  test("sees masked and read-only paths, and all of /proc where nothing is masked", async () => {
    const p = await pod("masked");
    const masked = await started(
      p,
      "masked",
      secured({ maskedPaths: ["/proc/keys", "/www"], readonlyPaths: ["/proc/sys"] }),
    );
    expect(
      await exec(
        masked,
        "sh",
        "-c",
        "wc -c < /proc/keys; ls /www; (echo x > /proc/sys/kernel/domainname) 2>&1 || true",
      ),
    ).toMatch(/^0\n.*Read-only/s);
    const open = await started(p, "open", secured({ maskedPaths: [], readonlyPaths: [] }));
    expect(await exec(open, "sh", "-c", "ls /www; mount | grep -c '/proc/'; true")).toBe("index.html\n0");
    await remove(p);
  });

  test("cannot be asked for what does not exist or is not here", async () => {
    const p = await pod("refusals");
    for (const [context, code, why] of [
      [{ capabilities: { addCapabilities: ["NEVER"] } }, "INVALID_ARGUMENT", /NEVER/],
      [{ runAsGroup: { value: 5n } }, "INVALID_ARGUMENT", /run_as_user/],
      [{ runAsUser: { value: 2n ** 32n } }, "INVALID_ARGUMENT", /out of range/],
      [{ maskedPaths: ["../proc"] }, "INVALID_ARGUMENT", /masked path/],
      [{ seccomp: { profileType: 2, localhostRef: "/no/such" } }, "NOT_FOUND", /\/no\/such/],
      [{ apparmor: { profileType: 2, localhostRef: "mine" } }, "FAILED_PRECONDITION", /AppArmor/],
      [{ namespaceOptions: { pid: 3, targetId: "none" } }, "NOT_FOUND", /none/],
    ] as const)
      await expect(container(p, "c", ["true"], secured(context))).rejects.toMatchObject({
        code,
        message: expect.stringMatching(why),
      });
    expect((await daemon.runtime.listContainers({})).containers).toEqual([]);
    await remove(p);
  });

  test("joins another container's processes", async () => {
    const p = await pod("target");
    const target = await started(p, "target", {}, ["sleep", "4321"]);
    const debug = await started(p, "debug", secured({ namespaceOptions: { pid: 3, targetId: target } }));
    expect(await exec(debug, "ps")).toContain("sleep 4321");
    await remove(p);
  });
});

describe("an image's config", () => {
  test("is taken as far as it makes sense, and never out of the container", async () => {
    const image = await imageWith("odd", {
      User: "guest",
      Env: ["NOVALUE", "=nameless", "A=1"],
      WorkingDir: "../../tmp/./work",
      Volumes: { "/data": {}, "/": {}, relative: {}, "/../../x": {} },
      Cmd: ["sleep", "1000"],
      StopSignal: "SIGUSR1",
    });
    const p = await pod("odd");
    const c = await started(p, "c", { image: { image } }, []);
    expect(await exec(c, "sh", "-c", "pwd; id -un; echo $A; touch /x/f 2>/dev/null; ls -d /data /x")).toBe(
      "/tmp/work\nguest\n1\n/data\n/x",
    );
    expect(existsSync("/x")).toBe(false);
    expect((await status(c)).stopSignal).toBe(29);
    await remove(p);
  });

  test.each(["4294967296", "1000:4294967296", "-1", "nobody-here", "guest:none"])(
    "with the user %s is refused",
    async user => {
      const image = await imageWith(`user-${user.replace(/\W/g, "-")}x`.toLowerCase(), { User: user });
      const p = await pod("bad-user");
      await expect(container(p, "c", ["true"], { image: { image } })).rejects.toMatchObject({
        code: expect.stringMatching(/INVALID_ARGUMENT|FAILED_PRECONDITION/),
      });
      await remove(p);
    },
  );
});
