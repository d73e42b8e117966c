import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { type Creation, Creations } from "./creations.ts";

/** Work that ends when it is told to, and counts what was done. */
function work(what = "pod a", request: unknown = 1) {
  const end = Promise.withResolvers<void>();
  const calls = { made: 0, published: 0, undone: 0 };
  let signal: AbortSignal | undefined;
  const creation: Creation = {
    what,
    request,
    same: other => other.request === request,
    async make(given, stage) {
      calls.made++;
      signal = given;
      stage("network of /ns/net");
      given.addEventListener("abort", () => end.reject(given.reason));
      await end.promise.catch(error => {
        calls.undone++;
        throw error;
      });
      return "id";
    },
    async publish() {
      calls.published++;
    },
    async undo() {
      calls.undone++;
    },
  };
  return { creation, calls, end, signal: () => signal };
}

test("a request that comes again joins the work, which is done and told once", async () => {
  const { creation, calls, end } = work();
  const creations = new Creations();
  const both = [creations.run(creation, {}), creations.run(creation, {})];
  end.resolve();
  expect(await Promise.all(both)).toEqual(["id", "id"]);
  expect(calls).toEqual({ made: 1, published: 1, undone: 0 });
});

test("another request under the name is refused while the first is at work", async () => {
  const { creation, end } = work();
  const creations = new Creations();
  const first = creations.run(creation, {});
  await expect(creations.run(work("pod a", 2).creation, {})).rejects.toMatchObject({
    code: "ALREADY_EXISTS",
    message: expect.stringContaining("network of /ns/net"),
  });
  end.resolve();
  await first;
});

test("shortly before its deadline a caller hears where the work is; a repeat gets the result", async () => {
  const { creation, calls, end } = work();
  const creations = new Creations();
  await expect(creations.run(creation, { deadlineMs: Date.now() + 100 })).rejects.toMatchObject({
    code: "DEADLINE_EXCEEDED",
    message: expect.stringMatching(/^pod a is still being made: at network of \/ns\/net for \d+\.\d s/),
  });
  end.resolve();
  await sleep(1);
  expect(calls).toEqual({ made: 1, published: 0, undone: 0 });
  expect(await creations.run(creation, { deadlineMs: Date.now() + 10_000 })).toBe("id");
  expect(calls).toEqual({ made: 1, published: 1, undone: 0 });
});

test("work whose caller hung up goes on for a moment, then is undone; a later request begins anew", async () => {
  vi.useFakeTimers();
  try {
    const { creation, calls, signal } = work();
    const creations = new Creations();
    const caller = new AbortController();
    const first = creations.run(creation, { signal: caller.signal });
    caller.abort(new Error("hung up"));
    await expect(first).rejects.toThrow("hung up");
    expect(signal()!.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(calls).toEqual({ made: 1, published: 0, undone: 1 });
    const next = work();
    const second = creations.run(next.creation, {});
    next.end.resolve();
    expect(await second).toBe("id");
  } finally {
    vi.useRealTimers();
  }
});

test("a result that nobody comes back for is undone", async () => {
  vi.useFakeTimers();
  try {
    const { creation, calls, end } = work();
    const creations = new Creations();
    const late = expect(creations.run(creation, { deadlineMs: Date.now() + 1_000 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
    await vi.advanceTimersByTimeAsync(1_000);
    await late;
    end.resolve();
    await vi.advanceTimersByTimeAsync(4 * 60_000);
    expect(calls.undone).toBe(0);
    await vi.advanceTimersByTimeAsync(2 * 60_000);
    expect(calls).toEqual({ made: 1, published: 0, undone: 1 });
  } finally {
    vi.useRealTimers();
  }
});

test("what is to be removed ends its making", async () => {
  const { creation, calls } = work();
  const creations = new Creations();
  const first = expect(creations.run(creation, {})).rejects.toMatchObject({
    code: "CANCELLED",
    message: expect.stringContaining("being removed"),
  });
  await creations.cancel("pod a");
  await first;
  expect(calls).toEqual({ made: 1, published: 0, undone: 1 });
});

test("a failure is every caller's, and the next request tries again", async () => {
  const { creation, end, calls } = work();
  const creations = new Creations();
  const both = [creations.run(creation, {}), creations.run(creation, {})];
  end.reject(new Error("no address left"));
  for (const result of await Promise.allSettled(both))
    expect(result).toMatchObject({ status: "rejected", reason: { message: "no address left" } });
  await expect(creations.run(creation, {})).rejects.toThrow("no address left");
  expect(calls.made).toBe(2);
});
