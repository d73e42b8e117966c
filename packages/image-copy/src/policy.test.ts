import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { loadDefaultPolicy, loadPolicy, parsePolicy } from "./policy.ts";
import { pathIdentity, registryIdentity, storageIdentity } from "./policy-scopes.ts";
import { makeTestImage } from "./testing/make-image.ts";

const accept = { type: "insecureAcceptAnything" };
const reject = { type: "reject" };
const fulcio = { caPath: "ca", oidcIssuer: "https://a.test", subjectEmail: "a@b.test" };
const rekor = { rekorPublicKeyPath: "rekor" };
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
    [{ default: [{ type: "sigstoreSigned", fulcio }] }],
    [{ default: [{ type: "sigstoreSigned", fulcio: { ...fulcio, caData: "eA==" }, ...rekor }] }],
    [{ default: [{ type: "sigstoreSigned", fulcio: { ...fulcio, oidcIssuer: "" }, ...rekor }] }],
    [{ default: [{ type: "sigstoreSigned", fulcio: { ...fulcio, more: 1 }, ...rekor }] }],
    [{ default: [{ type: "sigstoreSigned", fulcio, keyPath: "k", ...rekor }] }],
    [{ default: [{ type: "sigstoreSigned", pki: { caRootsPath: "x" } }] }],
    [{ default: [{ type: "sigstoreSigned", pki: { subjectEmail: "a@b.test" } }] }],
    [{ default: [{ type: "sigstoreSigned", pki: { caRootsPath: "x", subjectHostname: ".b.test" } }] }],
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

  it("lets nothing pass when its keys cannot be read", async () => {
    const image = await makeTestImage();
    for (const rule of [
      { type: "sigstoreSigned", pki: { caRootsPath: "/missing/ca.pem", subjectEmail: "a@b.test" } },
      { type: "sigstoreSigned", keyPath: "/missing/key.pub" },
      { type: "sigstoreSigned", keyData: Buffer.from("no key").toString("base64") },
      { type: "signedBy", keyType: "GPGKeys", keyPath: "/missing/ring.gpg" },
    ])
      await expect(parse({ default: [rule] }).admit(image, [image.manifest])).rejects.toMatchObject({
        code: "FAILED_PRECONDITION",
        message: expect.stringContaining(rule.type),
      });
  });
});

describe("loadDefaultPolicy", () => {
  let home: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), "ocid-home-"));
    vi.stubEnv("HOME", home);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(home, { recursive: true });
  });

  it("takes the user's file, and fails when it is none", async () => {
    const directory = join(home, ".config/containers");
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, "policy.json"), JSON.stringify({ default: [reject] }));
    const policy = await loadDefaultPolicy();
    expect(policy.requirementsFor(pathIdentity("dir", "/x"))).toEqual([reject]);
    writeFileSync(join(directory, "policy.json"), "{");
    await expect(loadDefaultPolicy()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("does not do without a file that was named", async () => {
    await expect(loadPolicy(join(home, "none.json"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});
