import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatReference, parseReference } from "@ocid/spec";
import { describe, expect, test } from "vitest";
import { parseChallenges } from "./challenge.ts";
import { authFileCredentials } from "./credentials.ts";
import { pullLocations, resolveShortName } from "./locations.ts";
import { proxyFor } from "./proxy.ts";
import { parseRegistriesConf } from "./registries-conf.ts";

const conf = parseRegistriesConf(
  {
    "unqualified-search-registries": ["docker.io", "quay.test"],
    aliases: { app: "registry.test/team/app" },
    registry: [
      {
        prefix: "registry.test",
        location: "moved.test:5000",
        mirror: [
          { location: "mirror.test/cache" },
          { location: "digests.test", "pull-from-mirror": "digest-only" },
        ],
      },
      { prefix: "registry.test/team", location: "team.test", insecure: true },
      { prefix: "blocked.test", location: "blocked.test", blocked: true },
      { prefix: "*.wild.test", mirror: [{ location: "127.0.0.1:4/w", insecure: true }] },
    ],
  },
  "registries.conf",
);
const places = (text: string) =>
  pullLocations(conf, parseReference(text)).map(
    place => `${formatReference(place.reference)}${place.insecure ? " insecure" : ""}`,
  );

describe("registries.conf", () => {
  test("rewrites by the longest prefix, mirrors first", () => {
    expect(places("registry.test/x:1")).toEqual(["mirror.test/cache/x:1", "moved.test:5000/x:1"]);
    expect(places("registry.test/team/x:1")).toEqual(["team.test/x:1 insecure"]);
    expect(places("registry.test/teams/x:1")).toEqual([
      "mirror.test/cache/teams/x:1",
      "moved.test:5000/teams/x:1",
    ]);
    expect(places("other.test/x:1")).toEqual(["other.test/x:1"]);
  });

  test("asks a mirror for digests only where it is for digests", () => {
    expect(places(`registry.test/x@sha256:${"ab".repeat(32)}`)[1]).toMatch(/^digests\.test\/x@sha256/);
  });

  test("replaces a wildcard's host, at any depth, but not the domain itself", () => {
    expect(places("s.wild.test/a/im:1")).toEqual(["127.0.0.1:4/w/a/im:1 insecure", "s.wild.test/a/im:1"]);
    expect(places("a.b.wild.test/im:1")[0]).toBe("127.0.0.1:4/w/im:1 insecure");
    expect(places("wild.test/im:1")).toEqual(["wild.test/im:1"]);
  });

  test("asks a mirror for tags only where it is for tags", () => {
    const tagsOnly = parseRegistriesConf(
      {
        registry: [{ location: "r.test", mirror: [{ location: "m.test", "pull-from-mirror": "tag-only" }] }],
      },
      "file",
    );
    const hosts = (text: string) =>
      pullLocations(tagsOnly, parseReference(text)).map(place => place.reference.registry);
    expect(hosts("r.test/x:1")).toEqual(["m.test", "r.test"]);
    expect(hosts(`r.test/x@sha256:${"ab".repeat(32)}`)).toEqual(["r.test"]);
  });

  test("of a drop-in replace tables by prefix, lists as a whole, aliases one by one", () => {
    const over = parseRegistriesConf(
      {
        "unqualified-search-registries": ["only.test"],
        "credential-helpers": ["secretservice"],
        aliases: { app: "", web: "registry.test/web" },
        registry: [{ prefix: "registry.test", location: "again.test" }],
      },
      "drop-in",
      conf,
    );
    expect(over.searchRegistries).toEqual(["only.test"]);
    expect(over.credentialHelpers).toEqual(["secretservice"]);
    expect(over.aliases).toEqual({ web: "registry.test/web" });
    expect(pullLocations(over, parseReference("registry.test/x:1"))).toHaveLength(1);
    expect(over.registries).toHaveLength(conf.registries.length);
  });

  test("blocks", () => {
    expect(() => places("blocked.test/x")).toThrow(/blocked in registries.conf/);
  });

  test("resolves short names by alias, then by search", () => {
    expect(resolveShortName(conf, "app:2").map(formatReference)).toEqual(["registry.test/team/app:2"]);
    expect(resolveShortName(conf, "busybox").map(formatReference)).toEqual([
      "docker.io/library/busybox:latest",
      "quay.test/busybox:latest",
    ]);
    expect(() => resolveShortName({ ...conf, shortNameMode: "enforcing" }, "busybox")).toThrow(/could mean/);
  });

  test.each([
    [{ registry: [{ location: "https://x.test" }] }, /without http/],
    [{ registry: [{ prefix: "*.x.test/y", location: "z.test" }] }, /can only be a host/],
    [{ registry: [{ prefix: "x.test" }] }, /needs a location/],
    [
      {
        registry: [
          {
            location: "x.test",
            "mirror-by-digest-only": true,
            mirror: [{ location: "m.test", "pull-from-mirror": "all" }],
          },
        ],
      },
      /exclude each other/,
    ],
    [
      {
        registry: [{ location: "x.test" }, { prefix: "y.test", location: "x.test", insecure: true }],
      },
      /in one table and not in another/,
    ],
    [{ registries: {}, registry: [] }, /first and the second version/],
    [{ "short-name-mode": "sometimes" }, /short-name-mode/],
    [
      { "unqualified-search-registries": ["a.test", { toString: {} }] },
      /unqualified-search-registries should/,
    ],
    [{ "credential-helpers": [1] }, /credential-helpers should be a list of strings, found 1$/],
    [{ registries: { search: { registries: [[]] } } }, /registries\.search should be a list of strings/],
  ])("refuses %j", (table, why) => {
    expect(() => parseRegistriesConf(table, "file")).toThrow(why);
  });
});

describe("credentials", () => {
  const file = (content: object) => {
    const path = join(mkdtempSync(join(tmpdir(), "auth-")), "auth.json");
    writeFileSync(path, JSON.stringify(content));
    return authFileCredentials({ authFile: path });
  };
  const pair = (text: string) => ({ auth: Buffer.from(text).toString("base64") });

  test("are found by the most exact key, and under Docker's old names", async () => {
    const source = file({
      auths: {
        "registry.test/team": pair("team:1"),
        "registry.test": pair("all:2"),
        "https://index.docker.io/v1/": pair("hub:3"),
        "id.test": { identitytoken: "t" },
      },
    });
    expect(await source.find("registry.test/team/app")).toMatchObject({ username: "team" });
    expect(await source.find("registry.test/teams/app")).toMatchObject({ username: "all", password: "2" });
    expect(await source.find("docker.io/library/busybox")).toMatchObject({ username: "hub" });
    expect(await source.find("id.test/x")).toEqual({ kind: "identityToken", token: "t" });
    expect(await source.find("none.test/x")).toBeUndefined();
  });

  test("come from a file that must be there when it was asked for", async () => {
    await expect(
      authFileCredentials({ authFile: "/no/such/auth.json" }).find("x.test/y"),
    ).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("challenges", () => {
  test("are parsed with quotes, several at once, and hostile text", () => {
    expect(
      parseChallenges(
        'Bearer realm="https://auth.test/token",service="r",scope="repository:a:pull,push", Basic realm="x, y"',
      ),
    ).toEqual([
      {
        scheme: "bearer",
        parameters: { realm: "https://auth.test/token", service: "r", scope: "repository:a:pull,push" },
      },
      { scheme: "basic", parameters: { realm: "x, y" } },
    ]);
    expect(parseChallenges('=,=,"')).toEqual([]);
    expect(parseChallenges("x".repeat(100_000)).length).toBeLessThanOrEqual(1);
  });
});

test("proxies follow the environment, and loopback goes direct", () => {
  const env = {
    HTTPS_PROXY: "proxy.test:3128",
    no_proxy: "direct.test,.inside.test,10.1.0.0/16,fd00::/8",
  };
  expect(proxyFor(new URL("https://registry.test/"), env)).toBe("http://proxy.test:3128");
  for (const url of [
    "https://direct.test/",
    "https://a.inside.test/",
    "https://127.0.0.1/",
    "https://10.1.2.3/",
    "https://[fd12::1]/",
    "http://registry.test/",
  ])
    expect(proxyFor(new URL(url), env)).toBeUndefined();
  expect(proxyFor(new URL("https://10.2.2.3/"), env)).toBe("http://proxy.test:3128");
  const cgi = { REQUEST_METHOD: "GET", HTTP_PROXY: "evil.test" };
  expect(proxyFor(new URL("http://registry.test/"), cgi)).toBeUndefined();
});
