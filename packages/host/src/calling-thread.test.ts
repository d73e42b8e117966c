import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { createCallingThread } from "./calling-thread.ts";

// Speaks as `answerCalls` does: doubles numbers, ends itself at 13.
const source = `
const { parentPort } = require("node:worker_threads");
parentPort.on("message", ({ id, call }) => {
  if (call === 13) process.exit(1);
  else if (call === 14) throw new Error("broken");
  else if (call < 0) parentPort.postMessage({ id, error: { code: "OUT_OF_RANGE", message: "negative" } });
  else parentPort.postMessage({ id, reply: call * 2 });
});`;

function createDoubler() {
  let launched = 0;
  const thread = createCallingThread<number, number>("the doubler", () => {
    launched++;
    return new Worker(source, { eval: true });
  });
  return { thread, launched: () => launched };
}

test("many calls at once get each its own answer from one thread", async () => {
  const { thread, launched } = createDoubler();
  await using _thread = thread;
  expect(launched()).toBe(0);
  const answers = await Promise.allSettled([1, -2, 3].map(call => thread.ask(call)));
  expect(answers).toMatchObject([
    { status: "fulfilled", value: 2 },
    { status: "rejected", reason: { code: "OUT_OF_RANGE", message: "negative" } },
    { status: "fulfilled", value: 6 },
  ]);
  expect(launched()).toBe(1);
});

test.each([13, 14])(
  "when the thread dies (%d) nobody waits for ever, and the next call starts another",
  async call => {
    const { thread, launched } = createDoubler();
    await using _thread = thread;
    await expect(Promise.all([thread.ask(call), thread.ask(1)])).rejects.toMatchObject({
      code: "INTERNAL",
      message: expect.stringContaining("the doubler ended before it answered"),
    });
    expect(await thread.ask(4)).toBe(8);
    expect(launched()).toBe(2);
  },
);
