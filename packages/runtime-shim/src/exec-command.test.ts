import { describe, expect, test } from "vitest";
import { refuseRuntimeFailure } from "./exec-command.ts";

const request = { process: { args: ["/no/such"] } } as Parameters<typeof refuseRuntimeFailure>[2];
const look = (code: number, text: string) => () => refuseRuntimeFailure(code, Buffer.from(text), request);

describe("what a runtime says when it cannot start a command", () => {
  test.each([
    [
      "runc",
      255,
      'time="…" level=error msg="exec failed: unable to start container process: exec: \\"/no/such\\": no such file or directory"',
    ],
    ["crun", 255, "executable file `/no/such` not found in $PATH: No such file or directory\n"],
    [
      "runsc",
      128,
      'executing processes for container: executing command "/no/such" in sandbox: failed to load /no/such: no such file or directory\n',
    ],
  ])("%s: is NOT_FOUND", (_, code, text) => {
    expect(look(code, text)).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
  });

  test("crun: what may not be run is not what is missing", () => {
    expect(look(255, "open executable: Operation not permitted\n")).toThrow(
      expect.objectContaining({ code: "FAILED_PRECONDITION" }),
    );
  });

  test.each([
    [255, "my own words\nexecutable file `x` not found in $PATH: No such file or directory\n"],
    [3, "executable file `x` not found in $PATH: No such file or directory\n"],
    [128, "killed: by something\n"],
    [0, "exec failed: not at all"],
  ])("exit code %d of a command of its own stays one", (code, text) => {
    expect(look(code, text)).not.toThrow();
  });
});
