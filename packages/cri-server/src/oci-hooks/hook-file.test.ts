import { describe, expect, test } from "vitest";
import { parseHookFile } from "./hook-file.ts";

const parse = (value: unknown) => parseHookFile(Buffer.from(JSON.stringify(value)), text => new RegExp(text));
const current = (more: object = {}) => ({
  version: "1.0.0",
  hook: { path: "/bin/true" },
  when: { always: true },
  stages: ["prestart"],
  ...more,
});

describe("a hook's file", () => {
  test("has the hook, its stages and its conditions", () => {
    const hook = { path: "/h", args: ["h", "x"], env: ["A=1"], timeout: 5 };
    const when = { annotations: { "^a$": "b" }, commands: ["/init$"], hasBindMounts: true };
    const parsed = parse(current({ hook, when, stages: ["createRuntime", "poststop"] }));
    expect(parsed).toMatchObject({ hook, stages: ["createRuntime", "poststop"] });
    expect(parsed.when).toMatchObject({ hasBindMounts: true, oneIsEnough: false });
    expect(parsed.when.annotations[0]!.name.test("a")).toBe(true);
    expect(parsed.when.commands[0]!.test("/sbin/init")).toBe(true);
  });

  test("may be of the first version, with either spelling of its lists", () => {
    const old = { hook: "/h", arguments: ["x"], cmd: ["sh"], annotation: ["y"], stage: ["poststop"] };
    expect(parse(old)).toMatchObject({
      hook: { path: "/h", args: ["/h", "x"] },
      stages: ["poststop"],
      when: { oneIsEnough: true, commands: [/sh/], annotations: [{ value: /y/ }] },
    });
  });

  test.each([
    [{ version: "2.0.0" }, 'version should be "1.0.0", found "2.0.0"'],
    [{ hook: undefined }, "hook is not an object"],
    [{ hook: {} }, "hook.path should be an absolute path, found nothing"],
    [{ hook: { path: "bin/x" } }, 'hook.path should be an absolute path, found "bin/x"'],
    [{ hook: { path: "/x", arg: [] } }, 'hook has "arg", which is not known'],
    [{ hook: { path: "/x", args: "y" } }, "hook: args should be a list of strings"],
    [{ hook: { path: "/x", timeout: -1 } }, "hook.timeout should be a number of seconds from 1 on, found -1"],
    [{ when: undefined }, "when is not an object"],
    [{ when: { command: ["x"] } }, 'when has "command", which is not known'],
    [{ when: { always: "yes" } }, 'when.always should be true or false, found "yes"'],
    [{ when: { commands: ["(a"] } }, 'when.commands: "(a" is no regular expression'],
    [{ when: { annotations: { "[": "x" } } }, 'when.annotations: "[" is no regular expression'],
    [{ when: { annotations: { x: "[" } } }, 'when.annotations "x": "[" is no regular expression'],
    [{ stages: undefined }, "stages should be a list, found nothing"],
    [{ stages: ["prestart", "precreate"] }, 'found "precreate"'],
  ])("is refused with %j", (more, message) => {
    expect(() => parse(current(more))).toThrow(message);
  });

  test("of the first version is refused with a list under both names, and without stages", () => {
    expect(() => parse({ hook: "/h", stage: [], stages: [] })).toThrow("stages and stage are the same");
    expect(() => parse({ hook: "/h" })).toThrow("stage should be a list");
  });
});
