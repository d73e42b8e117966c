import { expect, test } from "vitest";
import { containerCgroups } from "./container-cgroups.ts";
import { ShimFiles } from "./container-files.ts";
import type { MonitorRequest } from "./monitor.ts";
import { monitorCommand } from "./monitor-command.ts";

const shim = new ShimFiles("/state");

function command(systemd: boolean, cgroupsPath: string, more: object = {}) {
  const request: MonitorRequest = {
    conmonPath: "/usr/bin/conmon",
    systemdRunPath: systemd ? "/usr/bin/systemd-run" : undefined,
    runtime: {
      name: "runsc",
      path: "/usr/bin/runsc",
      type: "gvisor",
      root: "/state/runsc",
      globalArguments: ["--root=/state/runsc", "--platform=ptrace"],
    },
    cgroups: containerCgroups("abc", cgroupsPath, systemd),
    launch: {
      id: "abc",
      name: "k8s_c",
      runtimeHandler: "runsc",
      spec: { process: {} } as MonitorRequest["launch"]["spec"],
      stdin: false,
      stdinOnce: false,
      ...more,
    },
  };
  return monitorCommand(shim, shim.of("abc"), request);
}

test("conmon is started as it is, and tells the runtime what the configuration adds", () => {
  const { path, argv } = command(false, "/pod1/abc");
  expect(path).toBe("/usr/bin/conmon");
  expect(argv).not.toContain("--systemd-cgroup");
  expect(argv.join(" ")).toContain("--runtime-arg --root=/state/runsc --runtime-arg --platform=ptrace");
});

test("with systemd it is started in a scope in the pod's slice", () => {
  const { path, argv } = command(true, "kubepods-pod1.slice:ocid:abc");
  expect(path).toBe("/usr/bin/systemd-run");
  expect(argv.slice(0, argv.indexOf("--"))).toEqual(
    expect.arrayContaining(["--scope", "--slice=kubepods-pod1.slice", "--unit=ocid-conmon-abc.scope"]),
  );
  expect(argv[argv.indexOf("--") + 1]).toBe("/usr/bin/conmon");
  expect(argv).toContain("--systemd-cgroup");
});

test("where container and monitor go is known before they are made", () => {
  expect(containerCgroups("abc", "kubepods-pod1.slice:ocid:abc", true)).toMatchObject({
    container: "/kubepods.slice/kubepods-pod1.slice/ocid-abc.scope",
    monitor: "/kubepods.slice/kubepods-pod1.slice/ocid-conmon-abc.scope",
  });
  expect(containerCgroups("abc", "/pod1/abc", false)).toEqual({
    container: "/pod1/abc",
    monitor: "/pod1/conmon-abc",
    monitorScope: undefined,
  });
  expect(() => containerCgroups("abc", "/pod1/abc", true)).toThrow(/slice:prefix:name/);
});

test("a container that is restored has criu's images for its runtime, and the label of the new configuration", () => {
  const more = { checkpoint: "/images", spec: { process: { apparmorProfile: "strict" } } };
  const argv = command(false, "/pod1/abc", more).argv.join(" ");
  expect(argv).toContain("--restore /images --runtime-opt --file-locks");
  expect(argv).toContain("--runtime-opt --lsm-profile --runtime-opt apparmor:strict");
  expect(command(false, "/pod1/abc").argv).not.toContain("--restore");
});
