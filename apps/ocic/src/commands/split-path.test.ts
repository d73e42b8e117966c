import { expect, test } from "vitest";
import { splitPath } from "./split-path.ts";

test.each([
  ["busybox:/etc/passwd", "busybox", "/etc/passwd"],
  ["busybox:1.36:/", "busybox:1.36", "/"],
  ["docker://r.test:5000/a/b:v1:/etc", "docker://r.test:5000/a/b:v1", "/etc"],
  ["docker://r.test:5000/a/b", "docker://r.test:5000/a/b", undefined],
  ["r.test:5000/a:v1", "r.test:5000/a:v1", undefined],
  ["oci:/srv/layout:v1:/etc", "oci:/srv/layout:v1", "/etc"],
  ["oci:/srv/layout", "oci:/srv/layout", undefined],
  ["dir:/srv/image:/a b", "dir:/srv/image", "/a b"],
  ["containers-storage:[overlay@/r+/rr]x:/bin", "containers-storage:[overlay@/r+/rr]x", "/bin"],
])("%s is %s and %s", (text, image, path) => {
  expect(splitPath(text)).toEqual({ image, path });
});
