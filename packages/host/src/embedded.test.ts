import { once } from "node:events";
import { afterEach, expect, test } from "vitest";
import { embeddedKoffi, provideEmbedded, provideKoffi } from "./embedded.ts";
import { launchWorker } from "./worker.ts";

afterEach(() => provideEmbedded(() => undefined));

test("a worker that the executable carries is started from its text, with its data", async () => {
  provideEmbedded(name =>
    name === "greeting-worker"
      ? `const { parentPort, workerData } = require("node:worker_threads"); parentPort.postMessage("hello " + workerData);`
      : undefined,
  );
  const worker = launchWorker("greeting-worker", new URL("./missing-worker.ts", import.meta.url), {
    workerData: "you",
  });
  expect((await once(worker, "message"))[0]).toBe("hello you");
  await worker.terminate();
});

test("a name that it does not carry is a module", async () => {
  const worker = launchWorker("sync-worker", new URL("./sync-worker.ts", import.meta.url));
  worker.postMessage({ id: 1, call: "/nonexistent" });
  expect((await once(worker, "message"))[0]).toMatchObject({ id: 1, error: { code: "NOT_FOUND" } });
  await worker.terminate();
});

test("koffi is asked for when it is needed, not before", () => {
  let loads = 0;
  const koffi = { load: () => ({ func: () => () => 0 }), errno: () => 0 };
  provideKoffi(() => {
    loads++;
    return koffi;
  });
  expect(loads).toBe(0);
  expect(embeddedKoffi()).toBe(koffi);
});
