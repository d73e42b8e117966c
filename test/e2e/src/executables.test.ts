import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startDaemonUnderTest } from "./daemon-under-test.ts";

test.each(["ocic", "ocid"])("%s starts with what was compiled in its build, without a warning", app => {
  const executable = join(import.meta.dirname, "../../../apps", app, "dist", app);
  const { status, stdout, stderr } = spawnSync(executable, ["--help"], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toContain(app);
});

test("ocic loads TLS only where it needs it: that parses all root certificates, at each start", () => {
  const executable = join(import.meta.dirname, "../../../apps/ocic/dist/ocic");
  // Of certificates that are not there Node warns as soon as it loads any.
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: "/nowhere.pem" };
  const { status, stdout, stderr } = spawnSync(executable, ["version"], { encoding: "utf8", env });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toContain("ocic");
});

test("the daemon's threads start with what was compiled in its build too", async () => {
  await using daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
  const config = daemon.sandboxConfig("threads");
  const { podSandboxId } = await daemon.runtime.runPodSandbox({ config });
  await daemon.runtime.removePodSandbox({ podSandboxId });
  expect(daemon.log()).toContain("method=removePodSandbox");
  expect(daemon.log()).not.toMatch(/warning/i);
});
