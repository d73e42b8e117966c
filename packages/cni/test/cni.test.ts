import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCni } from "@ocid/cni";
import { launchNamespaceWorker, removeNamespaces } from "@ocid/host";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterAll, expect, test } from "vitest";

const root = tempRoot("cni-");
const leaks = leakCheck();
const bridge = `ocid-t${process.pid % 10_000}`;
const configDir = join(root.path, "net.d");
const ownPlugins = join(root.path, "plugins");
const worker = launchNamespaceWorker();
mkdirSync(configDir);
mkdirSync(ownPlugins);
const base = {
  type: "bridge",
  bridge,
  isGateway: true,
  ipMasq: false,
  ipam: { type: "host-local", dataDir: join(root.path, "ipam"), ranges: [[{ subnet: "10.213.77.0/24" }]] },
};
const configure = (plugins: readonly object[]) =>
  writeFileSync(
    join(configDir, "10-test.conflist"),
    JSON.stringify({ cniVersion: "1.0.0", name: "test", plugins }),
  );
const reserved = () => readdirSync(join(root.path, "ipam/test")).filter(name => name.startsWith("10."));

async function pod(id: string) {
  const directory = join(root.path, id);
  mkdirSync(directory);
  const { net } = await worker.create({ directory, net: true, ipc: false, uts: false, sysctls: {} });
  const request = {
    sandboxId: id,
    netnsPath: net!,
    podName: id,
    podNamespace: "default",
    podUid: "u1",
    portMappings: [],
  };
  return { request, end: () => removeNamespaces(directory) };
}

const open = () =>
  openCni({
    configDir,
    pluginDirs: [ownPlugins, "/usr/lib/cni", "/opt/cni/bin"],
    cacheDir: join(root.path, "cache"),
  });

afterAll(async () => {
  await worker[Symbol.asyncDispose]();
  execFileSync("sh", ["-c", `ip link del ${bridge} 2>/dev/null || true`]);
  await leaks.expectClean();
  root.remove();
});

test("says what is missing", async () => {
  await expect((await open()).status()).rejects.toMatchObject({
    code: "UNAVAILABLE",
    message: expect.stringContaining(configDir),
  });
  configure([{ type: "no-such-plugin" }]);
  await expect((await open()).status()).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringContaining("no-such-plugin"),
  });
});

test("a pod gets an address on the bridge, and gives it back although configuration and namespace are gone", async () => {
  configure([base]);
  const cni = await open();
  await cni.status();
  const { request, end } = await pod("a");
  const { ips } = await cni.add(request);
  expect(ips).toEqual([expect.stringMatching(/^10\.213\.77\.\d+$/)]);
  expect((await cni.add(request)).ips).toEqual(ips);
  expect(
    execFileSync("nsenter", [`--net=${request.netnsPath}`, "ip", "-4", "-o", "addr", "show", "eth0"], {
      encoding: "utf8",
    }),
  ).toContain(ips[0]);
  rmSync(join(configDir, "10-test.conflist"));
  end();
  const later = await open();
  await later.remove(request);
  await later.remove(request);
  expect(reserved()).toEqual([]);
  expect(readdirSync(join(root.path, "cache"))).toEqual([]);
});

test("when a later plugin fails, the earlier ones are undone and the message is the plugin's", async () => {
  const path = join(ownPlugins, "failing");
  writeFileSync(
    path,
    `#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" = DEL ] && exit 0\necho '{"code": 104, "msg": "no more wires", "details": "ask again"}'\nexit 1\n`,
  );
  chmodSync(path, 0o755);
  configure([base, { type: "failing" }]);
  const { request, end } = await pod("b");
  await expect((await open()).add(request)).rejects.toMatchObject({
    code: "INTERNAL",
    message: expect.stringMatching(/test.*default\/b.*failing.*no more wires: ask again/),
  });
  expect(reserved()).toEqual([]);
  expect(existsSync(join(root.path, "cache/b.json"))).toBe(false);
  end();
});

test("arguments cannot be smuggled in", async () => {
  configure([base]);
  const { request, end } = await pod("c");
  await expect((await open()).add({ ...request, podName: "x;EVIL=1" })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
  });
  end();
});
