import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NamespaceMode } from "@ocid/cri-api";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

let daemon: DaemonUnderTest;
const { pod, container, started, exec, remove } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

const first = 1_000_000;
const mapping = [{ hostId: first, containerId: 0, length: 65_536 }];
const usernsOptions = { mode: NamespaceMode.POD, uids: mapping, gids: mapping };
const own = (more: object = {}) => ({
  linux: {
    securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER, usernsOptions, ...more } },
    sysctls: {},
  },
});

describe("a pod with a user namespace", () => {
  test("has root that is nobody on the node, over the whole root file system and what it writes", async () => {
    const p = await pod("users", own());
    const c = await started(p, "c", {}, ["sh", "-c", "echo to-the-log > /dev/stdout; sleep 1000"]);
    expect(await exec(c, "cat", "/proc/self/uid_map")).toMatch(/^0\s+1000000\s+65536$/);
    expect(await exec(c, "id", "-u")).toBe("0");
    expect(await exec(c, "stat", "-c", "%u:%g", "/etc/passwd")).toBe("0:0");
    expect(await exec(c, "sh", "-c", "touch /etc/new && stat -c %u /etc/new && cat /etc/hosts")).toMatch(
      /^0\n[\s\S]*users/,
    );
    expect(await exec(c, "sh", "-c", "echo x > /dev/shm/f && stat -c %u /dev/shm /dev/shm/f")).toBe("0\n0");
    expect(await exec(c, "sh", "-c", "mount | grep -c '/sys type sysfs'")).toBe("1");
    const { info } = await daemon.runtime.containerStatus({ containerId: c, verbose: true });
    expect(statSync(`/proc/${JSON.parse(info["info"]!).pid}`).uid).toBe(first);
    await eventually("a line in the log", async () => {
      const { readFileSync } = await import("node:fs");
      return readFileSync(join(daemon.root, "logs/users/c.log"), "utf8").includes("to-the-log");
    });
    const shown = (await daemon.runtime.podSandboxStatus({ podSandboxId: p.id })).status;
    expect(shown?.linux?.namespaces?.options?.usernsOptions?.uids[0]?.hostId).toBe(first);
    await remove(p);
  });

  test("sets sysctls of its namespaces and shares its pid namespace", async () => {
    const config = own({ pid: NamespaceMode.POD });
    config.linux.sysctls = { "net.ipv4.ip_default_ttl": "71", "kernel.msgmax": "4243" };
    const p = await pod("user-pids", config);
    await started(p, "a", {}, ["sleep", "4244"]);
    const b = await started(p, "b");
    expect(await exec(b, "ps")).toMatch(/\/pause[\s\S]*sleep 4244/);
    expect(await exec(b, "cat", "/proc/sys/net/ipv4/ip_default_ttl", "/proc/sys/kernel/msgmax")).toBe(
      "71\n4243",
    );
    await remove(p);
  });

  test("has volumes, of the node and of images, with its own ids", async () => {
    const volume = join(daemon.root, "mapped-volume");
    mkdirSync(join(volume, "below"), { recursive: true });
    writeFileSync(join(volume, "secret"), "of root\n", { mode: 0o600 });
    const ids = { uidMappings: mapping, gidMappings: mapping };
    const p = await pod("user-volumes", own());
    const c = await started(p, "c", {
      mounts: [
        { containerPath: "/v", hostPath: volume, ...ids },
        { containerPath: "/f", hostPath: join(volume, "secret"), ...ids, readonly: true },
        { containerPath: "/plain", hostPath: volume },
        { containerPath: "/img", image: { image: daemon.image }, readonly: true, ...ids },
      ],
      devices: [{ hostPath: "/dev/null", containerPath: "/dev/nothing", permissions: "rw" }],
    });
    expect(await exec(c, "sh", "-c", "cat /v/secret /f; echo new > /v/new; stat -c %u /v/new")).toBe(
      "of root\nof root\n0",
    );
    expect(statSync(join(volume, "new")).uid).toBe(0);
    expect(await exec(c, "sh", "-c", "stat -c %u /plain/secret; cat /plain/secret 2>&1 || true")).toMatch(
      /^65534\n.*Permission denied/s,
    );
    expect(await exec(c, "sh", "-c", "stat -c %u /img/etc/passwd; touch /img/x 2>&1 || true")).toMatch(
      /^0\n.*Read-only/s,
    );
    expect(await exec(c, "sh", "-c", "echo gone > /dev/nothing; cat /dev/nothing")).toBe("");
    await daemon.kill();
    await daemon.start();
    expect(await exec(c, "cat", "/v/secret")).toBe("of root");
    await remove(p);
  });

  test("may be on the node's network", async () => {
    const p = await pod("user-hostnet", own({ network: NamespaceMode.NODE }));
    const c = await started(p, "c");
    expect(await exec(c, "cat", "/proc/self/uid_map")).toMatch(/1000000/);
    expect(await exec(c, "sh", "-c", "ls /sys/class/net | grep -c . && touch /sys/x 2>&1 || true")).toMatch(
      /Read-only|denied/,
    );
    await remove(p);
  });

  test.each([
    [
      "two ranges",
      { uids: [...mapping, { hostId: 1, containerId: 70_000, length: 1 }], gids: mapping },
      /one uid/,
    ],
    ["no range", { uids: [], gids: [] }, /one uid mapping, found 0/],
    ["the node's root", { uids: [{ hostId: 0, containerId: 0, length: 10 }], gids: mapping }, /node's uid 0/],
    ["another mode", { mode: NamespaceMode.TARGET, uids: mapping, gids: mapping }, /TARGET/],
  ])("with %s is refused", async (_, options, why) => {
    await expect(
      pod("user-refused", own({ usernsOptions: { ...usernsOptions, ...options } })),
    ).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(why) });
    expect((await daemon.runtime.listPodSandbox({})).items).toEqual([]);
  });

  test("refuses containers with ids that it does not have", async () => {
    const p = await pod("user-ids", own());
    for (const [more, why] of [
      [{ linux: { securityContext: { runAsUser: { value: 70_000n } } } }, /user 70000/],
      [
        {
          mounts: [
            {
              containerPath: "/v",
              hostPath: daemon.root,
              uidMappings: [{ hostId: 5, containerId: 0, length: 9 }],
              gidMappings: mapping,
            },
          ],
        },
        /other id mappings/,
      ],
      [
        { linux: { securityContext: { namespaceOptions: { usernsOptions: { mode: NamespaceMode.NODE } } } } },
        /not that of its pod/,
      ],
    ] as const)
      await expect(container(p, "c", ["true"], more)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(why),
      });
    await remove(p);
  });
});
