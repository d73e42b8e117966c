import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HookRegistry, type HookSubject } from "./hook-registry.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "hooks-"));
  for (const name of ["usr", "etc"]) mkdirSync(join(root, name));
});
afterEach(() => rmSync(root, { recursive: true }));

const write = (name: string, when: object, args: readonly string[] = [name], more: object = {}) =>
  writeFileSync(
    join(root, name),
    JSON.stringify({
      version: "1.0.0",
      hook: { path: "/bin/sh", args },
      when,
      stages: ["prestart"],
      ...more,
    }),
  );
const registry = () => new HookRegistry(() => ["none", "usr", "etc"].map(name => join(root, name)));
const subject: HookSubject = {
  annotations: { team: "fluids", "a.b/c": "" },
  command: "/sbin/init",
  hasBindMounts: false,
};
const chosen = async (hooks = registry(), about = subject) =>
  ((await hooks.withHooks(undefined, about))?.["prestart"] ?? []).map(({ args }) => args![0]);

test("a later directory's file stands for the earlier one's, and names give the order", async () => {
  write("usr/02-b.json", { always: true });
  write("usr/01-A.json", { always: true });
  write("usr/not-a-hook.txt", { always: true });
  write("etc/02-B.json", { always: true });
  write("etc/02-b.json", { always: true }, ["instead"]);
  expect(await chosen()).toEqual(["usr/01-A.json", "etc/02-B.json", "instead"]);
});

test("files are read again when they have changed, and directories are asked for each time", async () => {
  const directories: string[] = [];
  const hooks = new HookRegistry(() => directories);
  write("usr/a.json", { always: true }, ["one"]);
  expect(await chosen(hooks)).toEqual([]);
  directories.push(join(root, "usr"));
  expect(await chosen(hooks)).toEqual(["one"]);
  write("usr/a.json", { always: true }, ["another"]);
  expect(await chosen(hooks)).toEqual(["another"]);
  rmSync(join(root, "usr/a.json"));
  expect(await chosen(hooks)).toEqual([]);
});

test.each([
  [{ always: true }, true],
  [{ always: false }, false],
  [{}, false],
  [{ annotations: { "^team$": "^flu" } }, true],
  [{ annotations: { "^team$": "^flu", "^other$": "" } }, false],
  [{ annotations: { "^a\\.b/[[:alpha:]]$": "^$" } }, true],
  [{ commands: ["nothing", ".*/init$"] }, true],
  [{ commands: ["^init"] }, false],
  [{ always: true, commands: ["^init"] }, false],
  [{ hasBindMounts: true }, false],
  [{ hasBindMounts: false }, false],
])("all conditions of %j: %j", async (when, wanted) => {
  write("etc/x.json", when);
  expect(await chosen()).toEqual(wanted ? ["etc/x.json"] : []);
});

test("bind mounts are a condition", async () => {
  write("etc/x.json", { hasBindMounts: true });
  expect(await chosen(registry(), { ...subject, hasBindMounts: true })).toEqual(["etc/x.json"]);
});

test("of a file of the first version one condition is enough", async () => {
  const old = { hook: "/bin/sh", arguments: ["-c", "x"], stages: ["prestart"] };
  const holds = async (more: object) => {
    writeFileSync(join(root, "etc/old.json"), JSON.stringify({ ...old, ...more }));
    return (await chosen()).length === 1;
  };
  expect(await holds({ cmds: ["never"], annotations: ["fluids"] })).toBe(true);
  expect(await holds({ cmds: ["init$"], hasbindmounts: true })).toBe(true);
  expect(await holds({ cmds: ["never"], hasbindmounts: true })).toBe(false);
  expect(await holds({})).toBe(false);
});

test("hooks come after those that are there, in each of their stages", async () => {
  write("etc/x.json", { always: true }, ["mine"], { stages: ["createRuntime", "poststop"] });
  const before = { createRuntime: [{ path: "/first" }] };
  expect(await registry().withHooks(before, subject)).toEqual({
    createRuntime: [{ path: "/first" }, { path: "/bin/sh", args: ["mine"] }],
    poststop: [{ path: "/bin/sh", args: ["mine"] }],
  });
});

test("a file that cannot be used is named with its field, unless another stands for it", async () => {
  write("usr/a.json", { always: 1 });
  const problem = `${join(root, "usr/a.json")}: when.always should be true or false, found 1`;
  await expect(chosen()).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: `no container is made while a hook's file cannot be used; mend or remove ${problem}`,
  });
  expect(await registry().problems()).toEqual([problem]);
  write("etc/a.json", { always: true });
  expect(await chosen()).toEqual(["etc/a.json"]);
});

test("a program that is not there is named, where its hook is wanted", async () => {
  write("etc/a.json", { commands: ["^other$"] }, [], { hook: { path: "/no/such/hook" } });
  expect(await chosen()).toEqual([]);
  await expect(chosen(registry(), { ...subject, command: "other" })).rejects.toThrow(
    `the program of a hook is not there: /no/such/hook; install it, or remove ${join(root, "etc/a.json")}`,
  );
});

test("no text of a pod makes a pattern slow", async () => {
  write("etc/a.json", { annotations: { "(x+)+$": "" } });
  const annotations = { [`${"x".repeat(50_000)}!`]: "" };
  expect(await chosen(registry(), { ...subject, annotations })).toEqual([]);
});
