import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Digest, digestBytes } from "@ocid/spec";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { registryIdentity } from "../policy-scopes.ts";
import { readLookaside } from "./lookaside.ts";
import { loadSignatureStores } from "./registries-d.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ocid-registries-d-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const identity = registryIdentity({ registry: "a.test:5000", repository: "b/c", tag: "1" });

describe("loadSignatureStores", () => {
  it("takes each value from the most specific scope that has it", async () => {
    writeFileSync(
      join(directory, "a.yaml"),
      [
        "default-docker:",
        "  lookaside: https://default.test/",
        "docker:",
        "  a.test:5000:",
        "    use-sigstore-attachments: true",
        "  a.test:5000/b:",
        "    sigstore: file:///b",
      ].join("\n"),
    );
    writeFileSync(join(directory, "ignored.txt"), "docker: [");
    const stores = await loadSignatureStores(directory);
    expect(stores.lookasideOf(identity)).toBe("file:///b");
    expect(stores.usesAttachments(identity)).toBe(true);
    const other = registryIdentity({ registry: "other.test", repository: "x", tag: "1" });
    expect(stores.lookasideOf(other)).toBe("https://default.test/");
    expect(stores.usesAttachments(other)).toBeUndefined();
  });

  it.each([
    ["docker: ["],
    ["other: {}"],
    ["docker: {a.test: {use-sigstore-attachments: maybe}}"],
    ["docker: {a.test: 1}"],
    ["- a"],
    ["docker: &x {a.test: {}}\ndefault-docker: *x"],
  ])("refuses %j", async text => {
    writeFileSync(join(directory, "a.yaml"), text);
    await expect(loadSignatureStores(directory)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("refuses a scope that two files define", async () => {
    for (const file of ["a.yaml", "b.yaml"])
      writeFileSync(join(directory, file), "docker: {a.test: {lookaside: x}}");
    await expect(loadSignatureStores(directory)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("a.test"),
    });
  });
});

describe("readLookaside", () => {
  it("reads numbered files until one is missing", async () => {
    const digest: Digest = digestBytes("x");
    const folder = join(directory, `b/c@${digest.replace(":", "=")}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "signature-1"), "raw");
    writeFileSync(join(folder, "signature-2"), "\0unheard-of\nx");
    writeFileSync(join(folder, "signature-4"), "too late");
    const found = await readLookaside(`file://${directory}/`, "b/c", digest, {});
    expect(found).toEqual([{ kind: "simple", message: Buffer.from("raw") }]);
    await expect(readLookaside("ftp://a.test", "b/c", digest, {})).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});
