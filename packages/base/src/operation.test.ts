import { AsyncLocalStorage } from "node:async_hooks";
import { expect, test } from "vitest";
import { bindOperations, type Operation, observeOperations, traced } from "./operation.ts";

const operation: Operation = { name: "test.work", attributes: { id: "a" } };

test("an observer hears of the start and of the end, with the error", async () => {
  const heard: unknown[] = [];
  const failure = new Error("no");
  {
    using _observer = observeOperations({
      start: ({ name }) => heard.push(["start", name]),
      end: ({ name }, error) => heard.push(["end", name, error]),
    });
    expect(await traced({ ...operation }, async () => 7)).toBe(7);
    await expect(
      traced({ ...operation, name: "test.fails" }, async () => {
        throw failure;
      }),
    ).rejects.toBe(failure);
  }
  await traced(operation, async () => {});
  expect(heard).toEqual([
    ["start", "test.work"],
    ["end", "test.work", undefined],
    ["start", "test.fails"],
    ["end", "test.fails", failure],
  ]);
});

test("a bound value is there for all that the operation awaits, and for nobody beside it", async () => {
  const store = new AsyncLocalStorage<string>();
  const seen: (string | undefined)[] = [];
  const look = async () => {
    await Promise.resolve();
    seen.push(store.getStore());
  };
  using _observer = observeOperations({});
  using _binding = bindOperations(store, ({ name }) => `${store.getStore() ?? ""}/${name}`);
  await Promise.all([
    traced({ name: "a", attributes: {} }, async () => {
      await look();
      await traced({ name: "b", attributes: {} }, look);
    }),
    look(),
  ]);
  expect(seen.sort()).toEqual(["/a", "/a/b", undefined]);
});
