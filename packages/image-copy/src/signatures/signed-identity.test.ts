import { describe, expect, it } from "vitest";
import { identityMatches, parseSignedIdentity } from "./signed-identity.ts";

const digest = `sha256:${"0".repeat(64)}`;
const tagged = "a.test/b:1";
const digested = `a.test/b@${digest}`;

describe("identityMatches", () => {
  it.each([
    [undefined, tagged, tagged, true],
    [undefined, tagged, "a.test/b:2", false],
    [undefined, tagged, "a.test/b", false],
    [undefined, tagged, digested, false],
    [undefined, digested, tagged, true],
    [undefined, digested, "a.test/c:1", false],
    [undefined, undefined, tagged, false],
    [undefined, "busybox:1", "docker.io/library/busybox:1", true],
    [undefined, tagged, "NOT A NAME", false],
    [{ type: "matchExact" }, digested, tagged, false],
    [{ type: "matchExact" }, digested, digested, true],
    [{ type: "matchRepository" }, tagged, "a.test/b:other", true],
    [{ type: "matchRepository" }, tagged, "a.test/b", true],
    [{ type: "matchRepository" }, tagged, "a.test/c:1", false],
    [{ type: "exactReference", dockerReference: "x.test/y:1" }, undefined, "x.test/y:1", true],
    [{ type: "exactReference", dockerReference: "x.test/y:1" }, undefined, "x.test/y:2", false],
    [{ type: "exactRepository", dockerRepository: "x.test/y" }, tagged, "x.test/y:anything", true],
    [{ type: "exactRepository", dockerRepository: "x.test/y" }, tagged, tagged, false],
    [
      { type: "remapIdentity", prefix: "mirror.test/hub", signedPrefix: "docker.io" },
      "mirror.test/hub/a/b:1",
      "docker.io/a/b:1",
      true,
    ],
    [
      { type: "remapIdentity", prefix: "mirror.test/hub", signedPrefix: "docker.io" },
      "mirror.test/hubs/b:1",
      "docker.io/s/b:1",
      false,
    ],
    [{ type: "remapIdentity", prefix: "mirror.test", signedPrefix: "docker.io" }, tagged, tagged, true],
    [{ type: "matchRepository" }, tagged, undefined, true],
    [undefined, tagged, undefined, false],
    [undefined, digested, undefined, false],
    [{ type: "matchExact" }, tagged, undefined, false],
    [{ type: "exactRepository", dockerRepository: "x.test/y" }, tagged, undefined, false],
  ])("with %j holds %s signed as %s: %s", (rule, image, signed, expected) => {
    expect(identityMatches(parseSignedIdentity(rule, "test"), image, signed)).toBe(expected);
  });
});

describe("parseSignedIdentity", () => {
  it.each([
    [{ type: "other" }],
    [{ type: "matchExact", more: 1 }],
    [{ type: "exactReference", dockerReference: "a.test/b" }],
    [{ type: "exactReference" }],
    [{ type: "exactRepository", dockerRepository: "A B" }],
    [{ type: "remapIdentity", prefix: "a" }],
    ["matchExact"],
  ])("refuses %j", rule => {
    expect(() => parseSignedIdentity(rule, "test")).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });
});
