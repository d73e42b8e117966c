import { ContainerSchema } from "@ocid/cri-api";
import { expect, test } from "vitest";
import { inChunks } from "./in-chunks.ts";

const sizes = async (items: Iterable<{ id: string }>) =>
  (await Array.fromAsync(inChunks(ContainerSchema, items))).map(chunk => chunk.length);

test("small items come 500 at a time, in order; nothing comes of nothing", async () => {
  const items = Array.from({ length: 1201 }, (_, at) => ({ id: String(at) }));
  const chunks = await Array.fromAsync(inChunks(ContainerSchema, items));
  expect(chunks.map(chunk => chunk.length)).toEqual([500, 500, 201]);
  expect(chunks.flat().map(({ id }) => id)).toEqual(items.map(({ id }) => id));
  expect(await sizes([])).toEqual([]);
});

test("large items come by 1 MiB, and one that is larger comes alone", async () => {
  const id = (bytes: number) => ({ id: "x".repeat(bytes) });
  expect(await sizes([id(600_000), id(400_000), id(100_000), id(3_000_000), id(1)])).toEqual([2, 1, 1, 1]);
});

test("a list is looked at no further than it is asked for", async () => {
  let made = 0;
  const endless = function* () {
    for (;;) yield { id: String(made++) };
  };
  const chunks = inChunks(ContainerSchema, endless());
  await chunks.next();
  expect(made).toBe(501);
  await chunks.return();
  expect(made).toBe(501);
});
