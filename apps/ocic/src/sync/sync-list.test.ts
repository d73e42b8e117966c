import { expect, test } from "vitest";
import { isWanted, refuseCollisions } from "./plan-sync.ts";
import { parseSyncList } from "./sync-list.ts";

test("a list in the form of skopeo-sync is read", () => {
  const list = parseSyncList(
    `registry.test:
  images:
    busybox: []
    redis: ["1.0", "sha256:${"ab".repeat(32)}"]
  images-by-tag-regex:
    nginx: ^1\\.13-
  images-by-semver:
    alpine: ">= 3.12.0"
  credentials: { username: me, password: secret }
  tls-verify: false
  cert-dir: /etc/certs
`,
    "list.yaml",
  );
  expect(list).toEqual([
    {
      registry: "registry.test",
      repositories: [
        { repository: "busybox", filter: { kind: "all" } },
        { repository: "redis", filter: { kind: "named", names: ["1.0", `sha256:${"ab".repeat(32)}`] } },
        { repository: "nginx", filter: { kind: "pattern", pattern: /^1\.13-/ } },
        { repository: "alpine", filter: { kind: "semver", range: ">= 3.12.0" } },
      ],
      credentials: { username: "me", password: "secret" },
      tlsVerify: false,
      certificateDirectory: "/etc/certs",
    },
  ]);
});

test.each([
  ["- a", /map of registries/],
  ["r.test: { image: {} }", /image is not known/],
  ["r.test: { images: { a: [1.0] } }", /write numbers in quotes/],
  ["r.test: { images-by-tag-regex: { a: '(' } }", /not a regular expression/],
  ["r.test: { images-by-semver: { a: 'newest' } }", /not a range/],
  ["r.test: { images: { A: [] } }", /lower case/],
  ["r.test: { images: {}, images: {} }", /unique/],
  ["a: [", /list\.yaml/],
])("%j is refused", (text, why) => {
  expect(() => parseSyncList(text, "list.yaml")).toThrow(why);
});

test.each([
  ["3.12.1", true],
  ["v3.13", true],
  ["4", true],
  ["3.11.9", false],
  ["latest", false],
  ["3.13.0-rc1", false],
])("tag %s in >= 3.12.0: %s", (tag, wanted) => {
  expect(isWanted(tag, { kind: "semver", range: ">= 3.12.0" })).toBe(wanted);
});

test("two repositories may not become one", () => {
  const item = (repository: string) => ({
    source: { registry: "r.test", repository, tag: "1" },
    name: "app:1",
  });
  expect(() => refuseCollisions([item("a/app"), item("b/app")])).toThrow(/--scoped/);
  refuseCollisions([item("a/app"), item("a/app")]);
});
