import { OcidError } from "@ocid/base";
import { expect, test } from "vitest";
import type { ImagePort, StoredImage } from "../ports.ts";
import { findBaseImage } from "./base-image.ts";

const id = "a".repeat(64);
const other = "b".repeat(64);
const name = `registry.example/box@sha256:${"c".repeat(64)}`;
const image = (of: string) =>
  ({ id: `sha256:${of}`, repoDigests: [], repoTags: [] }) as unknown as StoredImage;

function port(known: Readonly<Record<string, string>>, pulled?: string | OcidError) {
  const pulls: string[] = [];
  const images = {
    find: async (reference: string) => (known[reference] ? image(known[reference]) : undefined),
    async pull(reference: string) {
      pulls.push(reference);
      if (pulled instanceof OcidError) throw pulled;
      return image(pulled ?? id);
    },
  } as unknown as ImagePort;
  return { images, pulls };
}
const find = (images: ImagePort, references: readonly string[]) =>
  findBaseImage(images, references, { namespace: "default" });

test("the image is the one with the id, or with the digest; one that is not here is pulled by it", async () => {
  for (const known of [{ [id]: id }, { [name]: id }]) {
    const { images, pulls } = port(known);
    expect(await find(images, [`sha256:${id}`, name])).toMatchObject({ id: `sha256:${id}` });
    expect(pulls).toEqual([]);
  }
  const { images, pulls } = port({});
  expect(await find(images, [`sha256:${id}`, name])).toMatchObject({ id: `sha256:${id}` });
  expect(await find(images, [name, "box:latest"])).toMatchObject({ id: `sha256:${id}` });
  expect(pulls).toEqual([name, name]);
});

test("a tag is no way to find it, nor is nothing", async () => {
  const { images, pulls } = port({ "box:latest": id });
  for (const references of [["box:latest"], [], ["", "sha256:short"], [`x@sha256:${"c".repeat(63)}`]])
    await expect(find(images, references)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(pulls).toEqual([]);
});

test("another image under the digest's name is refused", async () => {
  for (const { images } of [port({ [name]: other }), port({}, other)])
    await expect(find(images, [id, name])).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining(other),
    });
});

test("one that cannot be had is told with what to do; what the policy refuses stays refused", async () => {
  await expect(find(port({}).images, [id])).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringContaining("pull it"),
  });
  const gone = new OcidError("NOT_FOUND", "no such manifest");
  await expect(find(port({}, gone).images, [id, name])).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringMatching(/pull it first: no such manifest/),
  });
  const refused = new OcidError("PERMISSION_DENIED", "not signed", { reason: "PolicyRejected" });
  await expect(find(port({}, refused).images, [id, name])).rejects.toBe(refused);
});
