import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { Protocol } from "@ocid/cri-api";
import { freePort } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

let daemon: DaemonUnderTest;
const { pod, started, remove } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

test("a pod's ports are the node's, by every protocol, on the address that is named", async () => {
  const [tcp, udp, sctp] = [await freePort(), await freePort(), await freePort()];
  const p = await pod("ports", {
    portMappings: [
      { hostPort: tcp, containerPort: 80, hostIp: "127.0.0.1" },
      { hostPort: udp, containerPort: 53, protocol: Protocol.UDP },
      { hostPort: sctp, containerPort: 9, protocol: Protocol.SCTP },
      { containerPort: 8080 },
    ],
  });
  await started(p, "tcp", {}, ["httpd", "-f", "-p", "80", "-h", "/www"]);
  await eventually("an answer by TCP", async () =>
    fetch(`http://127.0.0.1:${tcp}/`).then(
      async answer => (await answer.text()) === "hello from ocid\n",
      () => false,
    ),
  );
  const { status } = await daemon.runtime.podSandboxStatus({ podSandboxId: p.id });
  const rules = () => execFileSync("iptables-save", ["-t", "nat"], { encoding: "utf8" }).split("\n");
  for (const [protocol, port, inside] of [
    ["udp", udp, 53],
    ["sctp", sctp, 9],
  ]) {
    const found = rules().filter(
      rule => rule.includes(`-p ${protocol} `) && rule.includes(`--dport ${port} `),
    );
    expect(found.join("\n")).toContain(`--to-destination ${status!.network!.ip}:${inside}`);
  }
  await remove(p);
  expect(rules().filter(rule => rule.includes(`--dport ${udp} `))).toEqual([]);
  await expect(refused(tcp)).resolves.toBe(true);
});

function refused(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, "127.0.0.1");
    socket.once("error", () => resolve(true));
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
  });
}

test.each([
  [{ portMappings: [{ hostPort: 70_000, containerPort: 80 }] }, /out of range/],
  [{ portMappings: [{ hostPort: 80, containerPort: 0 }] }, /out of range/],
  [{ portMappings: [{ hostPort: 80, containerPort: 80, hostIp: "localhost" }] }, /no IP address/],
  [{ portMappings: [{ hostPort: 80, containerPort: 80, protocol: 9 }] }, /protocol/],
  [{ dnsConfig: { servers: ["1.1.1.1\nnameserver 6.6.6.6"] } }, /DNS/],
  [{ hostname: "no/name" }, /host name/],
  [{ logDirectory: "relative" }, /log directory/],
  [{ linux: { cgroupParent: "kubepods-x.slice" } }, /slice of systemd/],
  [{ linux: { cgroupParent: "/../.." } }, /not a cgroup/],
  [{ linux: { sysctls: { "net.ipv4.x\n": "1" } } }, /not a sysctl/],
])("a pod of %o is refused and leaves nothing", async (more, why) => {
  await expect(pod("bad", more)).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: expect.stringMatching(why),
  });
  expect((await daemon.runtime.listPodSandbox({})).items).toEqual([]);
});

test("a pod's containers are in the cgroup that the kubelet names", async () => {
  const p = await pod("parent", { linux: { cgroupParent: "/ocid-e2e-parent/pod1" } });
  const c = await started(p, "c");
  expect(readFileSync(`/proc/${daemon.pidOf(c)}/cgroup`, "utf8")).toContain(`/ocid-e2e-parent/pod1/${c}`);
  await remove(p);
  execFileSync("sh", [
    "-c",
    "find /sys/fs/cgroup -depth -type d -path '*/ocid-e2e-parent*' -exec rmdir {} \\;",
  ]);
});
