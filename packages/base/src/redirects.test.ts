import { expect, test } from "vitest";
import { isLinkLocal, lookupRedirected, redirectTarget } from "./redirects.ts";

const from = new URL("https://registry.test/v2/");

test.each([
  "file:///etc/passwd",
  "ftp://registry.test/",
  "gopher://x",
  "http://169.254.169.254/latest",
  "http://2852039166/latest",
  "http://0xA9.0xFE.0xA9.0xFE/",
  "http://[::ffff:169.254.169.254]/",
  "http://[fe80::1]/",
  "http://[febf::1]/",
  undefined,
])("a redirect to %j is refused", location => {
  expect(() => redirectTarget(location, from, "fetch")).toThrow(
    expect.objectContaining({ code: "FAILED_PRECONDITION", reason: "RedirectRefused" }),
  );
});

test("a redirect to another web server is followed, without what it says of users", () => {
  expect(redirectTarget("http://me:secret@cdn.test/a?b", from, "fetch").href).toBe("http://cdn.test/a?b");
  expect(redirectTarget("/elsewhere", from, "fetch").href).toBe("https://registry.test/elsewhere");
});

test("addresses near the link's own are none of them", () => {
  for (const address of ["169.253.0.1", "169.255.0.1", "fec0::1", "10.0.0.1", "registry.test"])
    expect(isLinkLocal(address)).toBe(false);
});

test("loopback resolves", async () => {
  const found = await new Promise((resolve, reject) =>
    lookupRedirected("localhost", {}, (error, address) => (error ? reject(error) : resolve(address))),
  );
  expect(["127.0.0.1", "::1"]).toContain(found);
});
