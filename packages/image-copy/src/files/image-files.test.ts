import { expect, it } from "vitest";
import type { ImageSource } from "../image-source.ts";
import { type LayerEntry as Entry, makeImageOfEntries } from "../testing/make-layers.ts";
import { openImageFiles } from "./image-files.ts";

const makeImage = (...layers: readonly (readonly Entry[])[]) => makeImageOfEntries(layers);

async function textOf(image: { readonly source: ImageSource }, path: string): Promise<string> {
  await using files = await openImageFiles(image.source);
  let text = "";
  for await (const chunk of files.read(path)) text += Buffer.from(chunk).toString();
  return text;
}

async function namesIn(
  image: { readonly source: ImageSource },
  path: string,
  recursive = false,
): Promise<string[]> {
  await using files = await openImageFiles(image.source, { listOnly: true });
  return (await files.list(path, { recursive })).map(file => file.path);
}

const base: readonly Entry[] = [
  { name: "bin", type: "symlink", linkname: "usr/bin" },
  { name: "etc/", type: "directory", mode: 0o755 },
  { name: "etc/passwd", content: "root" },
  { name: "etc/shadow", content: "secret" },
  { name: "usr/bin/tool", content: "#!" },
  { name: "usr/bin/tool2", type: "link", linkname: "usr/bin/tool" },
  { name: "data/old", content: "old" },
  { name: "data/more/older", content: "older" },
];

it("fetches only the layers down to the one that answers", async () => {
  const image = await makeImage(
    base,
    [{ name: "etc/motd", content: "hello" }],
    [{ name: "app", content: "1" }],
  );
  expect(await textOf(image, "/etc/motd")).toBe("hello");
  expect(image.fetched).toEqual([image.layers[2], image.layers[1]]);
});

it("follows symbolic links within the root, and hard links to what they were made of", async () => {
  const image = await makeImage(base, [
    { name: "escape", type: "symlink", linkname: "../../../../etc/passwd" },
    { name: "round", type: "symlink", linkname: "/round" },
    { name: "usr/bin/.wh.tool" },
  ]);
  expect(await textOf(image, "bin/tool2")).toBe("#!");
  expect(await textOf(image, "escape")).toBe("root");
  expect(await textOf(image, "/usr/../bin/./tool2")).toBe("#!");
  await expect(textOf(image, "round")).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
  await expect(textOf(image, "usr/bin/tool")).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(textOf(image, "etc")).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
  await expect(textOf(image, "etc/passwd/x")).rejects.toMatchObject({ code: "NOT_FOUND" });
});

it("hides what whiteouts, opaque directories and files of upper layers hide, and reads no layer below them", async () => {
  const image = await makeImage(base, [
    { name: "etc/.wh.shadow" },
    { name: "data/.wh..wh..opq" },
    { name: "data/new", content: "new" },
    { name: "usr", content: "a file now" },
  ]);
  expect(await namesIn(image, "etc")).toEqual(["etc/passwd"]);
  image.fetched.length = 0;
  expect(await namesIn(image, "data", true)).toEqual(["data/new"]);
  await expect(textOf(image, "etc/shadow")).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(textOf(image, "usr/bin/tool")).rejects.toMatchObject({ code: "NOT_FOUND" });
  expect(new Set(image.fetched)).toEqual(new Set([image.layers[1]]));
  expect(await namesIn(image, "/")).toEqual(["bin", "data", "etc", "usr"]);
});

it("brings back below a whiteout only what its own layer brings", async () => {
  const image = await makeImage(
    base,
    [{ name: ".wh.data" }],
    [{ name: "data/back", content: "1" }],
    [{ name: ".wh.etc" }, { name: "etc/fresh", content: "2" }],
  );
  expect(await namesIn(image, "data")).toEqual(["data/back"]);
  expect(await namesIn(image, "etc")).toEqual(["etc/fresh"]);
});

it("puts what goes through a link of the layer where the link leads", async () => {
  const image = await makeImage([
    { name: "lib", type: "symlink", linkname: "usr/lib" },
    { name: "usr/lib/", type: "directory" },
    { name: "lib/a.so", content: "so" },
  ]);
  expect(await namesIn(image, "usr/lib")).toEqual(["usr/lib/a.so"]);
});

it("tells what a file is", async () => {
  const image = await makeImage([
    { name: "s", mode: 0o4755, uid: 7, gid: 8, mtime: new Date(1_000_000), content: "abc" },
    { name: "l", type: "symlink", linkname: "s" },
    { name: "implied/x", content: "" },
  ]);
  await using files = await openImageFiles(image.source);
  expect(await files.stat("s")).toMatchObject({
    path: "s",
    type: "file",
    mode: 0o4755,
    uid: 7,
    gid: 8,
    size: 3,
    mtimeMs: 1_000_000,
  });
  expect(await files.stat("l", { follow: false })).toMatchObject({ type: "symlink", linkTarget: "s" });
  expect(await files.stat("l")).toMatchObject({ path: "s", type: "file" });
  expect(await files.stat("implied")).toMatchObject({ type: "directory", mode: 0o755 });
});

it("believes nothing of a layer before its last byte", async () => {
  const image = await makeImage([{ name: "a", content: "good" }]);
  const [digest] = image.layers;
  const spoilt = await makeImage([{ name: "a", content: "evil" }]);
  image.blobs.set(digest!, spoilt.blobs.get(spoilt.layers[0]!)!);
  await expect(textOf(image, "a")).rejects.toMatchObject({ code: "DATA_LOSS" });
});

it.each<[string, readonly Entry[], object]>([
  ["climbs", [{ name: "../etc/passwd", content: "" }], { reason: "PathEscape" }],
  [
    "goes through a file",
    [
      { name: "f", content: "" },
      { name: "f/x", content: "" },
    ],
    { code: "INVALID_ARGUMENT" },
  ],
  ["links to nothing", [{ name: "h", type: "link", linkname: "nowhere" }], { code: "INVALID_ARGUMENT" }],
  ["hides no file", [{ name: ".wh..." }], { code: "INVALID_ARGUMENT" }],
  [
    "goes through links for ever",
    [
      { name: "a", type: "symlink", linkname: "a/a" },
      { name: "a/b", content: "" },
    ],
    { code: "INVALID_ARGUMENT" },
  ],
])("refuses an archive with an entry that %s", async (_, entries, error) => {
  await expect(namesIn(await makeImage(entries), "/")).rejects.toMatchObject(error);
});

it("stops where the files of an image would fill the memory", async () => {
  const image = await makeImage(
    Array.from({ length: 200 }, (_, at) => ({ name: `file-${at}`, content: "" })),
  );
  await using files = await openImageFiles(image.source, { maxMemory: 50_000 });
  await expect(files.list("/")).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
});

it("stops at a layer that unpacks to far more than it is", async () => {
  const image = await makeImage([{ name: "zeros", content: "\0".repeat(3_000_000) }]);
  await using files = await openImageFiles(image.source, { maxLayerBytes: 1_000_000 });
  await expect(files.list("/")).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
});

it("ends when it is told to", async () => {
  const image = await makeImage(base);
  await using files = await openImageFiles(image.source);
  await expect(files.list("/", { signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow("enough");
});
