import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { authFileCredentials } from "./credentials.ts";
import { login, logout } from "./login.ts";

const root = mkdtempSync(join(tmpdir(), "ocid-credentials-"));
afterAll(() => rmSync(root, { recursive: true }));
let count = 0;

function home(files: Readonly<Record<string, object>>) {
  const path = join(root, String(++count));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), JSON.stringify(content));
  }
  return { path, env: { HOME: path, XDG_RUNTIME_DIR: join(path, "run") } };
}

const pair = (text: string) => ({ auth: Buffer.from(text).toString("base64") });

test("the files are searched in their order, Docker's old one last", async () => {
  const { env } = home({
    "run/containers/auth.json": { auths: { "a.test": pair("first:1"), "empty.test": {} } },
    ".config/containers/auth.json": { auths: { "a.test": pair("second:2"), "empty.test": pair("full:2") } },
    ".docker/config.json": {
      auths: { "https://d.test/v1/": pair("docker:3"), "t.test": { registrytoken: "tok" } },
    },
    ".dockercfg": { "old.test": pair("old:4") },
  });
  const source = authFileCredentials({ env });
  expect(await source.find("a.test/x")).toMatchObject({ username: "first" });
  expect(await source.find("empty.test/x")).toMatchObject({ username: "full" });
  expect(await source.find("d.test/x")).toMatchObject({ username: "docker" });
  expect(await source.find("t.test/x")).toEqual({ kind: "registryToken", token: "tok" });
  expect(await source.find("old.test/x")).toMatchObject({ username: "old" });
  expect(await source.find("none.test/x")).toBeUndefined();
});

test("a credential is kept beside others, and forgotten alone", async () => {
  const { env, path } = home({
    "run/containers/auth.json": { auths: { "other.test": pair("o:1") }, kept: true },
  });
  const file = join(path, "run/containers/auth.json");
  const source = authFileCredentials({ env });
  expect(await login("a.test/team", { kind: "identityToken", token: "id" }, { env })).toEqual({
    keptIn: file,
  });
  expect(await source.find("a.test/team/app")).toEqual({ kind: "identityToken", token: "id" });
  expect(await source.find("a.test/else")).toBeUndefined();
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(await logout("a.test", { env })).toEqual([]);
  expect(await logout("a.test/team", { env })).toEqual([file]);
  expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({
    auths: { "other.test": pair("o:1") },
    kept: true,
  });
  await expect(login("a.test", { kind: "basic", username: "a:b", password: "" }, { env })).rejects.toThrow(
    /colon/,
  );
});

test("helpers of registries.conf are asked in their order, Docker's store where its entry is empty", async () => {
  const { env, path } = home({
    ".docker/config.json": { credsStore: "ocidtest", auths: { "kept.test": {} } },
  });
  const helper = join(path, "docker-credential-ocidtest");
  writeFileSync(
    helper,
    '#!/bin/sh\nread -r name\necho "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"for-$name\\"}"\n',
  );
  chmodSync(helper, 0o755);
  const before = process.env["PATH"];
  process.env["PATH"] = `${path}${delimiter}${before}`;
  try {
    const token = (name: string) => ({ kind: "identityToken", token: `for-${name}` });
    const files = authFileCredentials({ env });
    expect(await files.find("kept.test/x")).toEqual(token("kept.test"));
    expect(await files.find("unknown.test/x")).toBeUndefined();
    const both = authFileCredentials({ env, helpers: ["containers-auth.json", "ocidtest"] });
    expect(await both.find("unknown.test/x")).toEqual(token("unknown.test"));
  } finally {
    process.env["PATH"] = before;
  }
});
