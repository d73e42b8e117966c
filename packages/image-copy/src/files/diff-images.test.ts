import { expect, it } from "vitest";
import { type LayerEntry, makeImageOfEntries } from "../testing/make-layers.ts";
import { diffImages } from "./diff-images.ts";

const base: readonly LayerEntry[] = [
  { name: "etc/", type: "directory", mode: 0o755 },
  { name: "etc/a", content: "a" },
  { name: "etc/b", content: "b" },
  { name: "data/x/y", content: "y" },
  { name: "run", type: "symlink", linkname: "var/run" },
];

const marks = { added: "A", changed: "C", removed: "D" } as const;

async function diff(
  before: Awaited<ReturnType<typeof makeImageOfEntries>>,
  after: Awaited<ReturnType<typeof makeImageOfEntries>>,
) {
  const found = await diffImages(before.source, after.source);
  return {
    ...found,
    lines: found.files.map(
      ({ kind, path, aspects }) => `${marks[kind]} ${path}${aspects ? ` ${aspects.join()}` : ""}`,
    ),
  };
}

it("finds what a layer adds, changes and removes", async () => {
  const before = await makeImageOfEntries([base]);
  const after = await makeImageOfEntries([
    base,
    [
      { name: "etc/a", content: "A" },
      { name: "etc/b", content: "b", mode: 0o600, uid: 5, mtime: new Date(5_000_000) },
      { name: "etc/c", content: "c" },
      { name: ".wh.data" },
      { name: "run", type: "symlink", linkname: "/run2" },
    ],
  ]);
  const { lines, layers } = await diff(before, after);
  expect(lines).toEqual([
    "D data",
    "D data/x",
    "D data/x/y",
    "C etc/a content",
    "C etc/b mode,owner",
    "A etc/c",
    "C run target",
  ]);
  expect(layers).toMatchObject({ shared: 1, before: [], after: [{ digest: after.layers[1] }] });
  expect((await diff(after, before)).lines).toEqual([
    "A data",
    "A data/x",
    "A data/x/y",
    "C etc/a content",
    "C etc/b mode,owner",
    "D etc/c",
    "C run target",
  ]);
});

it("reads no layer that both have where both touch the same paths", async () => {
  const before = await makeImageOfEntries([base, [{ name: "etc/a", content: "1" }]]);
  const after = await makeImageOfEntries([base, [{ name: "etc/a", content: "2" }]]);
  expect((await diff(before, after)).lines).toEqual(["C etc/a content"]);
  expect([...before.fetched, ...after.fetched]).toEqual([before.layers[1], after.layers[1]]);
});

it("reads nothing where all layers are the same", async () => {
  const before = await makeImageOfEntries([base]);
  const after = await makeImageOfEntries([base]);
  expect(await diff(before, after)).toMatchObject({ same: true, files: [], config: [] });
  expect([...before.fetched, ...after.fetched]).toEqual([]);
});

it("sees no difference in what layers say twice, or in another split into layers", async () => {
  const before = await makeImageOfEntries([base, [{ name: "etc/a", content: "a" }]]);
  const after = await makeImageOfEntries([[...base].reverse()]);
  expect((await diff(before, after)).lines).toEqual([]);
});

it("tells what opaque directories and changed kinds leave", async () => {
  const before = await makeImageOfEntries([base]);
  const after = await makeImageOfEntries([
    base,
    [{ name: "etc/.wh..wh..opq" }, { name: "etc/a", content: "a" }, { name: "data", content: "a file" }],
  ]);
  expect((await diff(before, after)).lines).toEqual(["C data type", "D data/x", "D data/x/y", "D etc/b"]);
});

it("compares configs field by field", async () => {
  const before = await makeImageOfEntries([base]);
  const config = { config: { Env: ["PATH=/bin", "A="], Labels: { v: "2" }, Cmd: ["sh"] } };
  const after = await makeImageOfEntries([base], config);
  expect((await diff(before, after)).config).toEqual([
    { field: "config.Cmd", after: ["sh"] },
    { field: "config.Env.A", after: "" },
    { field: "config.Env.PATH", after: "/bin" },
    { field: "config.Labels.v", after: "2" },
  ]);
});
