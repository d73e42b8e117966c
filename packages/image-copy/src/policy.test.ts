import { describe, expect, it } from "vitest";
import { parsePolicy } from "./policy.ts";
import { pathIdentity, registryIdentity, storageIdentity } from "./policy-scopes.ts";
import { makeTestImage } from "./testing/make-image.ts";

const accept = { type: "insecureAcceptAnything" };
const reject = { type: "reject" };
const parse = (document: unknown) =>
  parsePolicy(Buffer.from(typeof document === "string" ? document : JSON.stringify(document)));

describe("parsePolicy", () => {
  it.each([
    ["{}"],
    [{ default: [] }],
    [{ default: accept }],
    [{ default: [{ type: "accept" }] }],
    [{ default: [{ ...accept, more: 1 }] }],
    [{ default: [accept], other: {} }],
    [{ default: [accept], transports: [] }],
    [{ default: [accept], transports: { docker: { "": [] } } }],
    [{ default: [{ type: "signedBy", keyType: "GPGKeys" }] }],
    [{ default: [{ type: "signedBy", keyType: "GPGKeys", keyPath: "a", keyData: "b" }] }],
    [{ default: [{ type: "signedBy", keyType: "X509", keyPath: "a" }] }],
    [{ default: [{ type: "sigstoreSigned", fulcio: { caPath: "x" } }] }],
    ['{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}'],
    ['{"default":[{"type":"reject","type" : "insecureAcceptAnything"}]}'],
    ['{"default":[{"type":"reject"}],"transports":{"docker":{},"\\u0064ocker":{}}}'],
    ["not json"],
  ])("refuses %j", document => {
    expect(() => parse(document)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("takes the rules of the most specific scope, and only those", async () => {
    const rule = (keyPath: string) => ({ type: "signedBy", keyType: "GPGKeys", keyPath });
    const scopes = {
      "a.test/b/c:1": "tag",
      "a.test/b/c": "repository",
      "a.test/b": "namespace",
      "a.test": "host",
      "*.test": "domain",
      "": "transport",
    };
    const policy = parse({
      default: [rule("default")],
      transports: {
        docker: Object.fromEntries(Object.entries(scopes).map(([scope, key]) => [scope, [rule(key)]])),
      },
    });
    const keyOf = (registry: string, repository: string, tag: string) => {
      const [found] = policy.requirementsFor(registryIdentity({ registry, repository, tag }));
      return found?.type === "signedBy" ? found.keys.paths[0] : found?.type;
    };
    expect(keyOf("a.test", "b/c", "1")).toBe("tag");
    expect(keyOf("a.test", "b/c", "2")).toBe("repository");
    expect(keyOf("a.test", "b/d", "1")).toBe("namespace");
    expect(keyOf("a.test", "bb/c", "1")).toBe("host");
    expect(keyOf("x.y.test:5000", "b", "1")).toBe("domain");
    expect(keyOf("other", "b", "1")).toBe("transport");
    expect(policy.requirementsFor(pathIdentity("dir", "/x"))).toEqual([
      {
        type: "signedBy",
        keys: { paths: ["default"], data: [] },
        signedIdentity: { type: "matchRepoDigestOrExact" },
      },
    ]);
  });

  it("knows directories and stores by their paths", () => {
    expect(pathIdentity("oci", "/a/b", "v1").scopes).toEqual(["/a/b:v1", "/a/b", "/a"]);
    expect(storageIdentity("/root", ["a.test/b:1"], "id").scopes).toEqual([
      "[overlay@/root]a.test/b:1@id",
      "[overlay@/root]a.test/b:1",
      "[overlay@/root]a.test/b",
      "[overlay@/root]a.test",
      "[overlay@/root]",
      "[/root]",
    ]);
  });
});

describe("a policy", () => {
  it("accepts, rejects, and refuses where all rules must hold", async () => {
    const image = await makeTestImage();
    await parse({ default: [accept] }).admit(image, [image.manifest]);
    await expect(parse({ default: [accept, reject] }).admit(image, [image.manifest])).rejects.toMatchObject({
      code: "PERMISSION_DENIED",
      message: expect.stringContaining("memory:image"),
    });
    const { identity: _, ...nameless } = image;
    await expect(parse({ default: [accept] }).admit(nameless, [image.manifest])).rejects.toMatchObject({
      code: "PERMISSION_DENIED",
    });
  });

  it("lets nothing pass whose signatures it cannot check", async () => {
    const image = await makeTestImage();
    const policy = parse({
      default: [{ type: "sigstoreSigned", pki: { caRootsPath: "/ca.pem", subjectEmail: "a@b.test" } }],
    });
    await expect(policy.admit(image, [image.manifest])).rejects.toMatchObject({
      code: "UNIMPLEMENTED",
      message: expect.stringContaining("sigstoreSigned"),
    });
  });
});
