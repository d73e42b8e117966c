import { ContainerEventType } from "@ocid/cri-api";
import { expect, test } from "vitest";
import { ContainerEvents, type NodeEvent } from "./container-events.ts";
import type { Container, Sandbox } from "./records.ts";
import type { ServerContext } from "./server-context.ts";

const sandbox = {
  id: "pod",
  phase: "ready",
  ips: [],
  createdAtNs: 1n,
  handler: "",
  config: { labels: {}, annotations: {} },
} as unknown as Sandbox;
const context = { records: { containersOf: () => [] } } as unknown as ServerContext;
const { CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT } = ContainerEventType;

test("every listener gets every event in order, from when it began to listen", async () => {
  const events = new ContainerEvents();
  const controller = new AbortController();
  await events.publishSandbox(context, sandbox, CONTAINER_CREATED_EVENT);
  const listeners = [events.listen(controller.signal), events.listen(controller.signal)];
  await events.publishSandbox(context, sandbox, CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT);
  for (const listener of listeners)
    for (const type of [CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT])
      expect((await listener.next()).value).toMatchObject({
        containerId: "pod",
        containerEventType: type,
        podSandboxStatus: { id: "pod" },
      });
  expect(events.waiting).toBe(0);
  const last = listeners.map(listener => listener.next());
  controller.abort();
  for (const end of last) expect(await end).toEqual({ done: true, value: undefined });
});

test("a follower is told in words, also while nobody listens, until it has enough", async () => {
  const events = new ContainerEvents();
  const told: NodeEvent[] = [];
  const following = events.follow(event => told.push(event));
  const named = { ...sandbox, config: { metadata: { name: "web", namespace: "shop" } } } as Sandbox;
  const records = { containersOf: () => [], sandboxes: new Map([["pod", named]]) };
  const container = {
    sandboxId: "pod",
    config: { metadata: { name: "app" } },
    state: { status: "stopped", exitCode: 137, oomKilled: true },
  } as Container;
  const both = { records } as unknown as ServerContext;
  await events.publishSandbox(both, named, CONTAINER_CREATED_EVENT);
  await events.publish(both, container, ContainerEventType.CONTAINER_STOPPED_EVENT);
  following[Symbol.dispose]();
  await events.publishSandbox(both, named, CONTAINER_STARTED_EVENT);
  const of = { pod: "web", namespace: "shop", at: expect.any(Date) };
  expect(told).toEqual([
    { ...of, what: "created", container: undefined },
    { ...of, what: "stopped", container: "app", exitCode: 137, oomKilled: true },
  ]);
});

test("a listener that does not keep up loses what waits, is told so, and holds nobody else up", async () => {
  const events = new ContainerEvents();
  const { signal } = new AbortController();
  const slow = events.listen(signal);
  const quick = events.listen(signal);
  let taken = 0;
  for (let count = 0; count < 1001; count++) {
    await events.publishSandbox(context, sandbox, CONTAINER_STARTED_EVENT);
    if (!(await quick.next()).done) taken++;
  }
  expect(taken).toBe(1001);
  expect(events.waiting).toBe(0);
  await expect(slow.next()).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    message: expect.stringContaining("list what there is"),
  });
  expect(await slow.next()).toEqual({ done: true, value: undefined });
});
