import { expect, test } from "vitest";
import { parseSize } from "./parse-size.ts";

test.each([
  ["0", 0],
  ["1048576", 1048576],
  ["10G", 10 * 1024 ** 3],
  ["10g", 10 * 1024 ** 3],
  ["10GB", 10 * 1024 ** 3],
  ["10GiB", 10 * 1024 ** 3],
  ["1.5 m", 1.5 * 1024 ** 2],
  [" 2k ", 2048],
  ["512b", 512],
])("%j is %d bytes", (text, bytes) => {
  expect(parseSize(text, "size")).toBe(bytes);
});

test.each(["", "G", "-1", "10X", "1e9", "0x10", "1..5g", "99999999P", "10G 5M"])("%j is no size", text => {
  expect(() => parseSize(text, "size")).toThrow(
    expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(/size should be/) }),
  );
});
