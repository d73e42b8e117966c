import { expect, test } from "vitest";
import { configJson } from "./config-json.ts";

test("numbers of 64 bits are written out", () => {
  const text = configJson({
    ociVersion: "1.0.2",
    process: {
      user: { uid: 0, gid: 0 },
      args: [],
      cwd: "/",
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 2n ** 64n - 1n, soft: 5 }],
    },
    root: { path: "/" },
    mounts: [],
    linux: { namespaces: [] },
  });
  expect(text).toContain('"hard":18446744073709551615,"soft":5');
});
