import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { startTestRegistry, type TestRegistry } from "@ocid/registry/testing";
import { mediaTypes } from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";

const root = tempRoot("ocic-registry-");
const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
let stack: AsyncDisposableStack;
let count = 0;
let home = "";

beforeEach(() => {
  stack = new AsyncDisposableStack();
  home = join(root.path, `home-${++count}`);
  mkdirSync(home);
});
afterEach(() => stack.disposeAsync());
afterAll(() => root.remove());

/** Runs the command line in a home of its own, away from this machine's configuration. */
async function ocic(
  args: readonly string[],
  input = "",
): Promise<{ code: number; out: string; err: string }> {
  const child = spawn(process.execPath, ["--conditions=@ocid/source", main, "--tls-verify=false", ...args], {
    env: {
      PATH: `${join(home, "bin")}${delimiter}${process.env["PATH"]}`,
      HOME: home,
      XDG_RUNTIME_DIR: join(home, "run"),
    },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  child.stdout.on("data", chunk => {
    out += chunk;
  });
  child.stderr.on("data", chunk => {
    err += chunk;
  });
  child.stdin.end(input);
  const code = await new Promise<number>(resolve => child.once("close", status => resolve(status ?? -1)));
  return { code, out, err };
}

async function registryWith(
  images: Readonly<Record<string, readonly string[]>>,
  options: Parameters<typeof startTestRegistry>[0] = {},
): Promise<TestRegistry> {
  const registry = stack.use(await startTestRegistry(options));
  for (const [repository, tags] of Object.entries(images))
    for (const tag of tags) {
      const config = Buffer.from(
        JSON.stringify({ architecture: "amd64", os: "linux", tag, rootfs: { type: "layers", diff_ids: [] } }),
      );
      const descriptor = { ...registry.addBlob(repository, config), mediaType: mediaTypes.ociConfig };
      const manifest = {
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: descriptor,
        layers: [],
      };
      registry.addManifest(repository, Buffer.from(JSON.stringify(manifest)), mediaTypes.ociManifest, tag);
    }
  return registry;
}

describe("login", () => {
  const auth = { scheme: "token", username: "me", password: "s3cret-pass" } as const;

  test("checks, keeps and forgets a password", async () => {
    const registry = await registryWith({ "team/app": ["v1"] }, { auth });
    const file = join(home, "run/containers/auth.json");
    expect((await ocic(["tags", `${registry.host}/team/app`])).code).toBe(5);

    const wrong = await ocic(["login", registry.host, "-u", "me", "--password-stdin"], "wrong-pass\n");
    expect(wrong.code).toBe(5);
    expect(wrong.err).not.toContain("wrong-pass");
    expect(existsSync(file)).toBe(false);

    const right = await ocic(["login", registry.host, "-u", "me", "--password-stdin"], "s3cret-pass\n");
    expect(right).toMatchObject({ code: 0, out: `logged in to ${registry.host}, kept in ${file}\n` });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(file, "utf8")).auths[registry.host]).toEqual({
      auth: Buffer.from("me:s3cret-pass").toString("base64"),
    });
    expect(await ocic(["tags", `${registry.host}/team/app`])).toMatchObject({ code: 0, out: "v1\n" });

    expect((await ocic(["logout", registry.host])).out).toBe(`removed from ${file}\n`);
    expect((await ocic(["logout", registry.host])).code).toBe(3);
    expect((await ocic(["tags", `${registry.host}/team/app`])).code).toBe(5);
  });

  test("warns of a password that others can see, and asks nobody without a terminal", async () => {
    const registry = await registryWith({}, { auth });
    const seen = await ocic(["login", registry.host, "-u", "me", "-p", "s3cret-pass"]);
    expect(seen.code).toBe(0);
    expect(seen.err).toMatch(/can be seen/);
    expect(await ocic(["login", registry.host, "-u", "me"])).toMatchObject({
      code: 7,
      err: expect.stringContaining("--password-stdin"),
    });
  });

  test("leaves a registry's helper to keep the password", async () => {
    const registry = await registryWith({ "team/app": ["v1"] }, { auth });
    mkdirSync(join(home, "bin"));
    const helper = join(home, "bin/docker-credential-test");
    const kept = join(home, "kept.json");
    writeFileSync(
      helper,
      `#!/bin/sh\ncase "$1" in\nstore) cat >${kept} ;;\nget) cat ${kept} 2>/dev/null || { echo credentials not found in native keychain; exit 1; } ;;\nerase) rm ${kept} ;;\nesac\n`,
    );
    chmodSync(helper, 0o755);
    mkdirSync(join(home, "run/containers"), { recursive: true });
    const file = join(home, "run/containers/auth.json");
    writeFileSync(file, JSON.stringify({ credHelpers: { [registry.host]: "test" } }));
    const login = await ocic(["login", registry.host, "-u", "me", "--password-stdin"], "s3cret-pass");
    expect(login.out).toContain("docker-credential-test");
    expect(JSON.parse(readFileSync(kept, "utf8"))).toEqual({
      ServerURL: registry.host,
      Username: "me",
      Secret: "s3cret-pass",
    });
    expect(readFileSync(file, "utf8")).not.toContain("auths");
    expect((await ocic(["tags", `${registry.host}/team/app`])).out).toBe("v1\n");
    expect((await ocic(["logout", registry.host])).out).toBe("removed from docker-credential-test\n");
    expect(existsSync(kept)).toBe(false);
  });
});

test("tags are listed, and deleted with nothing else", async () => {
  const registry = await registryWith({ "team/app": ["v1", "v2", "v3"] }, { deletesTags: false });
  const name = `${registry.host}/team/app`;
  expect((await ocic(["tags", name, "--after", "v1", "--limit", "1"])).out).toBe("v2\n");
  expect((await ocic(["delete", name])).code).toBe(2);
  expect((await ocic(["delete", `${name}:v1`, "--dry-run"])).out).toBe("would delete v1\n");
  expect((await ocic(["delete", `${name}:v1`])).out).toBe("deleted v1\n");
  expect(registry.tags("team/app")).toEqual(["v2", "v3"]);
  const inspected = await ocic(["inspect", `docker://${name}:v2`]);
  const { digest } = JSON.parse(inspected.out);
  const refused = await ocic(["delete", `${name}@${digest}`]);
  expect(refused).toMatchObject({ code: 7, err: expect.stringContaining("v2") });
  expect((await ocic(["delete", `${name}@${digest}`, "--with-tags"])).out).toBe(
    `deleted ${digest}\ndeleted v2\n`,
  );
  expect(registry.tags("team/app")).toEqual(["v3"]);
});

test("artifacts go up and come down, and cannot name files elsewhere", async () => {
  const registry = await registryWith({ "team/app": ["v1"] });
  const name = `${registry.host}/team/app`;
  writeFileSync(join(home, "sbom.json"), '{"sbom":true}');
  const pushed = await ocic([
    "artifact",
    "push",
    name,
    `${join(home, "sbom.json")}=application/json`,
    "--type",
    "application/vnd.test.sbom",
    "--subject",
    `${name}:v1`,
  ]);
  expect(pushed).toMatchObject({ code: 0, out: expect.stringMatching(/^sha256:/) });
  const output = join(home, "out");
  expect((await ocic(["artifact", "pull", `${name}@${pushed.out.trim()}`, "-o", output])).code).toBe(0);
  expect(readFileSync(join(output, "sbom.json"), "utf8")).toBe('{"sbom":true}');
  expect((await ocic(["artifact", "pull", `${name}@${pushed.out.trim()}`, "-o", output])).code).toBe(4);

  const blob = registry.addBlob("team/app", Buffer.from("evil"));
  const annotations = { "org.opencontainers.image.title": "../evil" };
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: blob,
    layers: [{ ...blob, annotations }],
  };
  registry.addManifest("team/app", Buffer.from(JSON.stringify(manifest)), mediaTypes.ociManifest, "evil");
  expect(await ocic(["artifact", "pull", `${name}:evil`, "-o", output])).toMatchObject({
    code: 2,
    err: expect.stringContaining("not written"),
  });
  expect(existsSync(join(home, "evil"))).toBe(false);
});

test("a short name is looked for in the search registries, in their order", async () => {
  const first = await registryWith({ other: ["v1"] });
  const second = await registryWith({ app: ["v1"] });
  mkdirSync(join(home, ".config/containers"), { recursive: true });
  writeFileSync(
    join(home, ".config/containers/registries.conf"),
    `unqualified-search-registries = ["${first.host}", "${second.host}"]\n`,
  );
  const found = await ocic(["inspect", "docker://app:v1"]);
  expect(JSON.parse(found.out).name).toBe(`docker://${second.host}/app:v1`);
  expect(await ocic(["inspect", "docker://none:v1"])).toMatchObject({
    code: 3,
    err: expect.stringMatching(new RegExp(`${first.host}.*${second.host}`, "s")),
  });
});

describe("sync", () => {
  async function setUp() {
    const source = await registryWith({
      "team/app": ["1.0.0", "1.1.0", "2.0.0", "latest"],
      "team/db": ["a", "b"],
    });
    const destination = stack.use(await startTestRegistry());
    const list = join(home, "list.yaml");
    writeFileSync(
      list,
      JSON.stringify({
        [source.host]: {
          "images-by-semver": { "team/app": "^1.0.0" },
          "images-by-tag-regex": { "team/db": "^a$" },
        },
      }),
    );
    return { source, destination, list, to: `docker://${destination.host}/mirror` };
  }

  test("mirrors what the list means, and a second time only what changed", async () => {
    const { destination, list, to } = await setUp();
    const dry = await ocic(["sync", list, to, "--dry-run"]);
    expect(dry.out.match(/^would copy/gm)).toHaveLength(3);
    expect(destination.tags("mirror/app")).toEqual([]);
    expect((await ocic(["sync", list, to])).out.match(/^copied/gm)).toHaveLength(3);
    expect(destination.tags("mirror/app")).toEqual(["1.0.0", "1.1.0"]);
    expect(destination.tags("mirror/db")).toEqual(["a"]);
    expect((await ocic(["sync", list, to])).out.match(/^same/gm)).toHaveLength(3);
  });

  test("stops at a failure, or keeps going", async () => {
    const { source, destination, list, to } = await setUp();
    source.fail({ path: /manifests\/1\.0\.0/, fault: { kind: "status", status: 404 } });
    expect((await ocic(["sync", list, to])).code).toBe(3);
    const going = await ocic(["sync", list, to, "--keep-going", "--jobs", "2", "--json"]);
    expect(going.code).toBe(1);
    const results = JSON.parse(going.out).map(({ result }: { result: string }) => result);
    expect(results.filter((result: string) => result === "failed")).toHaveLength(1);
    expect(destination.tags("mirror/app")).toEqual(["1.1.0"]);
  });
});
