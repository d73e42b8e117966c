import { OcidError } from "@ocid/base";
import { expect, test } from "vitest";
import { createLogger } from "./log.ts";

function lines(format: "logfmt" | "json", level: "debug" | "info" = "info") {
  const written: string[] = [];
  return { written, log: createLogger({ level, format, write: line => written.push(line) }) };
}

test("logfmt lines carry time, level, message and fields, quoted where needed", () => {
  const { written, log } = lines("logfmt");
  log
    .child({ id: "abc" })
    .info("pulled an image", { image: "docker.io/library/busybox:1", bytes: 12n, skipped: undefined });
  expect(written[0]).toMatch(
    /^time=\S+ level=info message="pulled an image" id=abc image=docker.io\/library\/busybox:1 bytes=12\n$/,
  );
});

test("lines below the level are not written", () => {
  const { written, log } = lines("json");
  log.debug("x");
  expect(written).toEqual([]);
});

test("credentials never reach the log", () => {
  const { written, log } = lines("json");
  log.error("pull failed", {
    url: "https://me:secret@registry.test/x?sig=secret",
    error: new OcidError("UNAVAILABLE", "Bearer abcdefghijklmnop"),
  });
  expect(written[0]).not.toMatch(/secret|abcdefghijklmnop/);
  expect(JSON.parse(written[0]!)).toMatchObject({ level: "error", error: { code: "UNAVAILABLE" } });
});
