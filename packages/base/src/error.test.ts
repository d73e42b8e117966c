import { describe, expect, test } from "vitest";
import { codeOf, isOcidError, messageOf, OcidError, wrapError } from "./error.ts";

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

  test("is told of what went wrong, not of what its clean-up met", () => {
    const inner = new OcidError("DATA_LOSS", "digest differs", { reason: "Digest" });
    const failing = () => {
      using _first = { [Symbol.dispose]: () => fail("busy") };
      using _second = { [Symbol.dispose]: () => fail("gone") };
      throw inner;
    };
    const error = caught(failing);
    expect(error).toBeInstanceOf(SuppressedError);
    expect(messageOf(error)).toBe("digest differs");
    expect(codeOf(error)).toBe("DATA_LOSS");
    expect(wrapError("pull", error)).toMatchObject({ reason: "Digest", message: "pull: digest differs" });
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

function fail(message: string): never {
  throw new Error(message);
}

function caught(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
