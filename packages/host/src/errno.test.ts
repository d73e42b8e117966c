import { isOcidError, OcidError, wrapError } from "@ocid/base";
import { describe, expect, test } from "vitest";
import { errnoOf, systemError, systemErrorOf } from "./errno.ts";
import { fromThreadError, toThreadError } from "./thread-error.ts";

describe("errors of system calls", () => {
  test.each([
    [2, "ENOENT", "NOT_FOUND"],
    [11, "EAGAIN", "UNAVAILABLE"],
    [16, "EBUSY", "FAILED_PRECONDITION"],
    [28, "ENOSPC", "RESOURCE_EXHAUSTED"],
    [95, "EOPNOTSUPP", "UNIMPLEMENTED"],
    [9999, "errno 9999", "INTERNAL"],
  ])("%d is %s, %s", (errno, name, code) => {
    const error = systemError("mount", errno, "none on /x");
    expect(error).toMatchObject({ code, reason: name, message: `mount none on /x: ${name}` });
    expect(error.details).toEqual({ call: "mount", errno });
  });

  test("the kernel's answer is found below what was wrapped around it", () => {
    expect(errnoOf(wrapError("mount the image", systemError("mount", 16)))).toBe("EBUSY");
    expect(
      errnoOf(new OcidError("INTERNAL", "x", { reason: "ExitFailed", cause: systemError("kill", 3) })),
    ).toBe("ESRCH");
    expect(errnoOf(Object.assign(new Error("x"), { code: "EIO" }))).toBe("EIO");
    for (const other of [new Error("x"), undefined, { code: "ERR_INVALID_ARG_TYPE" }, "ENOENT"])
      expect(errnoOf(other)).toBeUndefined();
  });

  test("what is no system error stays what it is", () => {
    const bug = new TypeError("x");
    expect(systemErrorOf(bug, "write", "x")).toBe(bug);
  });
});

describe("errors between threads", () => {
  const across = (error: unknown) => fromThreadError(structuredClone(toThreadError(error)));

  test("keep code, reason, details and message", () => {
    const error = across(systemError("setns", 22, "/x"));
    expect(isOcidError(error)).toBe(true);
    expect(error).toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "EINVAL",
      details: { call: "setns", errno: 22 },
      message: "setns /x: EINVAL",
    });
  });

  test("Node's own keep their errno, bugs become INTERNAL", () => {
    const error = across(Object.assign(new Error("ENOENT: no such file"), { code: "ENOENT" }));
    expect([error.code, errnoOf(error)]).toEqual(["NOT_FOUND", "ENOENT"]);
    expect(across(new TypeError("x is not a function")).code).toBe("INTERNAL");
    expect(across(undefined).code).toBe("INTERNAL");
  });
});
