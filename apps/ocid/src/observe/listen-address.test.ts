import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { tempRoot } from "@ocid/testkit";
import { expect, test } from "vitest";
import { isLocal, listenAt, parseListen } from "./listen-address.ts";

test.each([
  ["/run/x.sock", { path: "/run/x.sock" }],
  ["127.0.0.1:9537", { host: "127.0.0.1", port: 9537 }],
  ["[::1]:1", { host: "::1", port: 1 }],
])("listens at %s", (text, target) => expect(parseListen(text)).toEqual(target));

test.each(["9537", "localhost", "a:99999", "::1:80"])("refuses to listen at %s", text =>
  expect(() => parseListen(text)).toThrow(/ADDRESS:PORT such as/),
);

test.each([
  ["/run/x.sock", true],
  ["127.0.0.1:1", true],
  ["127.8.9.1:1", true],
  ["[::1]:1", true],
  ["[::ffff:127.0.0.1]:1", true],
  ["localhost:1", true],
  ["0.0.0.0:1", false],
  ["[::]:1", false],
  ["192.168.1.7:1", false],
  ["node-7:1", false],
])("whether only this machine reaches %s: %s", (text, local) =>
  expect(isLocal(parseListen(text))).toBe(local),
);

test("a file in the place of a socket is left alone", async () => {
  using root = tempRoot("ocid-listen-");
  const path = join(root.path, "notes");
  writeFileSync(path, "mine");
  await expect(listenAt(createServer(), path, "a page")).rejects.toThrow(/notes exists and is no socket/);
  expect(readFileSync(path, "utf8")).toBe("mine");
});
