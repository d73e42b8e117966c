import { describe, expect, test } from "vitest";
import { parseRows, toGoJson, withKeys } from "./go-json.ts";

describe("records", () => {
  test("of others are written as they were read", () => {
    const text =
      '[{"id":"a","x-unknown":{"b":1,"a":[12345678901234567890,1.5]},"created":"2024-05-06T07:08:09.123456789+02:00"},{"id":"b","names":["\\u003c\\u0026\\u003e"],"__proto__":1}]';
    expect(toGoJson(parseRows(text, "f"))).toBe(text);
  });

  test("take a new key in the format's place and lose one that is undefined", () => {
    const order = ["id", "names", "created"];
    const row = withKeys({ id: "a", created: "c", own: 1 }, order, { names: ["n"] });
    expect(JSON.stringify(row)).toBe('{"id":"a","names":["n"],"created":"c","own":1}');
    expect(withKeys(row, order, { names: undefined })).toEqual({ id: "a", created: "c", own: 1 });
  });

  test.each(["", "  ", "null", "[]"])("are none in %j", text => {
    expect(parseRows(text, "f")).toEqual([]);
  });

  test.each([
    "[{",
    "{}",
    "[1]",
    '[{"id":1}]',
    '[{"id":""}]',
    '[{"id":"../../etc"}]',
    '[{"id":"a/b"}]',
    '[{"id":".."}]',
  ])("are DATA_LOSS that names the file in %j", text => {
    expect(() => parseRows(text, "/s/images.json")).toThrow(
      expect.objectContaining({
        code: "DATA_LOSS",
        message: expect.stringContaining("/s/images.json"),
      }),
    );
  });
});
