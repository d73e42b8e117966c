import { describe, expect, test } from "vitest";
import { codeOf, isOcidError, OcidError, wrapError } from "./error.ts";

describe("OcidError", () => {
  test("never carries credentials in its message", () => {
    const error = new OcidError(
      "UNAVAILABLE",
      "GET https://user:hunter2@registry.test/v2/?token=s3cr3t failed: Authorization: Bearer abcdefghijk",
    );
    expect(error.message).toBe("GET https://registry.test/v2/?… failed: Authorization: …");
  });

  test("is recognised without instanceof", () => {
    const foreign = Object.assign(new Error("x"), { code: "NOT_FOUND", [Symbol.for("ocid.error")]: true });
    expect(isOcidError(foreign, "NOT_FOUND")).toBe(true);
    expect(isOcidError(foreign, "INTERNAL")).toBe(false);
    expect(isOcidError(new Error("x"))).toBe(false);
  });

  test("keeps the code, reason and details of what it wraps", () => {
    const inner = new OcidError("DATA_LOSS", "digest differs", { reason: "Digest", details: { size: 3 } });
    const outer = wrapError("pull busybox", inner);
    expect(outer).toMatchObject({
      code: "DATA_LOSS",
      reason: "Digest",
      details: { size: 3 },
      message: "pull busybox: digest differs",
    });
    expect(outer.cause).toBe(inner);
  });

  test.each([
    [Object.assign(new Error("full"), { code: "ENOSPC" }), "RESOURCE_EXHAUSTED"],
    [AbortSignal.abort().reason, "CANCELLED"],
    [new TypeError("x is not a function"), "UNKNOWN"],
    [undefined, "UNKNOWN"],
  ])("maps %s to %s", (thrown, code) => {
    expect(codeOf(thrown)).toBe(code);
  });
});
