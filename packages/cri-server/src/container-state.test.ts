import { OcidError } from "@ocid/base";
import { expect, test } from "vitest";
import { isKnownToRuntime, readContainerState } from "./container-state.ts";
import type { RuntimeState } from "./ports.ts";
import type { ServerContext } from "./server-context.ts";

const runtime = (state: () => Promise<RuntimeState>) =>
  ({ ports: { runtime: { state } } }) as unknown as ServerContext;
const lost = runtime(() => Promise.reject(new OcidError("NOT_FOUND", "container a does not exist")));
const ended: RuntimeState = { status: "stopped", exitCode: 3, finishedAtNs: 7n, oomKilled: false };

test("what the runtime says counts, not what is remembered", async () => {
  const running: RuntimeState = { status: "running", pid: 12 };
  const context = runtime(() => Promise.resolve(ended));
  expect(await readContainerState(context, { id: "a", state: running })).toEqual(ended);
});

test("a container that the runtime has no files of has ended: as it is remembered, or with 255", async () => {
  expect(await readContainerState(lost, { id: "a", state: ended })).toEqual(ended);
  expect(await readContainerState(lost, { id: "a", state: { status: "running", pid: 12 } })).toMatchObject({
    status: "stopped",
    exitCode: 255,
    finishedAtNs: expect.any(BigInt),
  });
});

test("any other failure of the runtime is told", async () => {
  const broken = runtime(() => Promise.reject(new OcidError("INTERNAL", "runc state: killed")));
  await expect(readContainerState(broken, { id: "a", state: ended })).rejects.toThrow("runc state: killed");
  expect(await isKnownToRuntime(broken, "a")).toBe(true);
  expect(await isKnownToRuntime(lost, "a")).toBe(false);
});
