import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { policyFor } from "./image-policy.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ocid-policy-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe("policyFor", () => {
  const write = (name: string, type: string) =>
    writeFileSync(join(directory, name), JSON.stringify({ default: [{ type }] }));
  const typeOf = async (namespace: string, files: { path: string; directory: string }) =>
    (await policyFor(files, namespace)).requirementsFor({ transport: "docker", scopes: [] })[0]!.type;

  it("takes a namespace's own file before the other", async () => {
    write("policy.json", "reject");
    mkdirSync(join(directory, "namespaces"));
    write("namespaces/lenient.json", "insecureAcceptAnything");
    const files = { path: join(directory, "policy.json"), directory: join(directory, "namespaces") };
    expect(await typeOf("lenient", files)).toBe("insecureAcceptAnything");
    expect(await typeOf("other", files)).toBe("reject");
    expect(await typeOf("", files)).toBe("reject");
    // A name is no path.
    write("outside.json", "insecureAcceptAnything");
    expect(await typeOf("../outside", files)).toBe("reject");
  });

  it("lets nothing in by a file that is missing or wrong", async () => {
    const path = join(directory, "policy.json");
    await expect(policyFor({ path, directory: "" }, "a")).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
    });
    writeFileSync(path, "{");
    await expect(policyFor({ path, directory: "" }, "a")).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
    });
    write("policy.json", "reject");
    writeFileSync(join(directory, "a.json"), "{");
    await expect(policyFor({ path, directory }, "a")).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
  });
});
