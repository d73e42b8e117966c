import { describe, expect, test } from "vitest";
import { formatReference, isShortName, parseReference } from "./reference.ts";

const digest = `sha256:${"ab".repeat(32)}`;

describe("references are spelt out as Docker does it", () => {
  test.each([
    ["busybox", "docker.io/library/busybox:latest"],
    ["busybox:1.36", "docker.io/library/busybox:1.36"],
    ["team/app", "docker.io/team/app:latest"],
    ["index.docker.io/team/app", "docker.io/team/app:latest"],
    ["docker.io/busybox", "docker.io/library/busybox:latest"],
    ["localhost/app", "localhost/app:latest"],
    ["localhost:5000/app", "localhost:5000/app:latest"],
    ["registry.test/a/b/c:v1", "registry.test/a/b/c:v1"],
    [`registry.test/a@${digest}`, `registry.test/a@${digest}`],
    [`registry.test/a:v1@${digest}`, `registry.test/a:v1@${digest}`],
    ["[::1]:5000/app", "[::1]:5000/app:latest"],
    ["a__b/c-d.e", "docker.io/a__b/c-d.e:latest"],
  ])("%s is %s", (text, full) => {
    expect(formatReference(parseReference(text))).toBe(full);
    expect(formatReference(parseReference(full))).toBe(full);
  });
});

test.each([
  ["", /no name/],
  ["Busybox/Upper/Case", /lower case/],
  ["registry.test/UPPER", /lower case/],
  ["a//b", /not a repository name/],
  ["a/../b", /not a repository name/],
  ["app:", /not a tag/],
  ["app:-x", /not a tag/],
  [`app:${"t".repeat(129)}`, /not a tag/],
  ["app@sha256:12", /not a digest/],
  ["app@md5:d41d8cd98f00b204e9800998ecf8427e", /not a digest/],
  ["ab".repeat(32), /image id/],
  [`registry.test/${"a/".repeat(130)}a`, /at most 255/],
  ["x".repeat(2000), /too long/],
  ["exa mple/app", /not a repository name/],
])("%j is refused", (text, why) => {
  expect(() => parseReference(text)).toThrow(why);
});

test("a name without a registry is short", () => {
  expect(["busybox", "team/app", "localhost/app", "a.b/c", "h:5000/c"].map(isShortName)).toEqual([
    true,
    true,
    false,
    false,
    false,
  ]);
});
