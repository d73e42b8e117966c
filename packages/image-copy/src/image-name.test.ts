import { describe, expect, it } from "vitest";
import { parseImageName } from "./image-name.ts";

describe("parseImageName", () => {
  it.each([
    ["busybox", { transport: "docker", text: "busybox" }],
    ["localhost:5000/a/b:c", { transport: "docker", text: "localhost:5000/a/b:c" }],
    ["docker://busybox:1", { transport: "docker", text: "busybox:1" }],
    ["oci:dir", { transport: "oci", path: "dir", tag: undefined }],
    ["oci:/a/b:c:v1", { transport: "oci", path: "/a/b:c", tag: "v1" }],
    ["oci:C:\\a\\b:v1", { transport: "oci", path: "C:\\a\\b", tag: "v1" }],
    ["oci:C:\\a\\b", { transport: "oci", path: "C:\\a\\b", tag: undefined }],
    ["docker-archive:C:/x.tar:a:1", { transport: "docker-archive", path: "C:/x.tar", image: "a:1" }],
    ["docker-archive:C:\\x.tar", { transport: "docker-archive", path: "C:\\x.tar", image: undefined }],
    ["oci-archive:x.tar:v1", { transport: "oci-archive", path: "x.tar", tag: "v1" }],
    ["docker-archive:x.tar", { transport: "docker-archive", path: "x.tar", image: undefined }],
    ["docker-archive:x.tar:a/b:c", { transport: "docker-archive", path: "x.tar", image: "a/b:c" }],
    ["docker-archive:x.tar:@2", { transport: "docker-archive", path: "x.tar", image: 2 }],
    ["docker-daemon:a:1", { transport: "docker-daemon", text: "a:1" }],
    ["dir:/x", { transport: "dir", path: "/x" }],
    ["containers-storage:a", { transport: "containers-storage", text: "a" }],
    [
      "containers-storage:[overlay@/r+/rr:x=y]a:1",
      {
        transport: "containers-storage",
        text: "a:1",
        store: { driver: "overlay", root: "/r", runRoot: "/rr" },
      },
    ],
    ["containers-storage:[/r]a", { transport: "containers-storage", text: "a", store: { root: "/r" } }],
  ])("reads %s", (text, expected) => {
    expect(parseImageName(text)).toEqual(expected);
  });

  it.each(["oci:", "dir:", "containers-storage:", "containers-storage:[x]a", "docker-archive::a"])(
    "refuses %s",
    text => {
      expect(() => parseImageName(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    },
  );

  it("names a transport that is not there", () => {
    expect(() => parseImageName("ostree:x")).toThrow(expect.objectContaining({ code: "UNIMPLEMENTED" }));
  });
});
