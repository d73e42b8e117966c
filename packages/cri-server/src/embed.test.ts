import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ContainerStatsSchema, ListContainerStatsResponseSchema, PodSandboxStatsSchema } from "@ocid/cri-api";
import { expect, test } from "vitest";
import { embed } from "./embed.ts";

const stats = (id: string) =>
  toBinary(ContainerStatsSchema, create(ContainerStatsSchema, { attributes: { id } }));

test("encoded messages become a list, in order; none is an empty one", () => {
  const ids = Array.from({ length: 300 }, (_, at) => "x".repeat(at));
  const list = fromBinary(ListContainerStatsResponseSchema, embed(1, ids.map(stats)));
  expect(list.stats.map(({ attributes }) => attributes?.id)).toEqual(ids);
  expect(embed(1, [])).toEqual(new Uint8Array(0));
});

test("fields that are encoded already stay before them", () => {
  const pod = toBinary(PodSandboxStatsSchema, create(PodSandboxStatsSchema, { attributes: { id: "pod" } }));
  const whole = fromBinary(PodSandboxStatsSchema, embed(2, [embed(5, [stats("a"), stats("b")])], pod));
  expect(whole.attributes?.id).toBe("pod");
  expect(whole.linux?.containers.map(({ attributes }) => attributes?.id)).toEqual(["a", "b"]);
});
