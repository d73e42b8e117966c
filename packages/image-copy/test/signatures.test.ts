import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { createRegistryClient, type RegistryClient } from "@ocid/registry";
import { parseReference } from "@ocid/spec";
import { type DockerRegistry, startDockerRegistry, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  copyImage,
  createDirectoryDestination,
  createLayoutDestination,
  createRegistrySource,
  loadSignatureStores,
  parsePolicy,
} from "../src/index.ts";
import { makeTestImage } from "../src/testing/index.ts";

// Images that skopeo and GnuPG have signed, on the way out of a real registry with a lookaside directory.

const root = tempRoot("ocid-signed-");
const run = promisify(execFile);
const gnupg = join(root.path, "gnupg");
const stores = join(root.path, "registries.d");
let dockerRegistry: DockerRegistry;
let registry: RegistryClient;

beforeAll(async () => {
  dockerRegistry = await startDockerRegistry({ directory: root.path });
  registry = createRegistryClient({ tlsVerify: false });
  mkdirSync(gnupg, { mode: 0o700 });
  mkdirSync(stores);
  const lookaside = `file://${join(root.path, "lookaside")}`;
  writeFileSync(
    join(stores, "test.yaml"),
    `default-docker:\n  lookaside: ${lookaside}\n  lookaside-staging: ${lookaside}\n`,
  );
  for (const user of ["signer", "other"]) {
    await gpg("--quick-generate-key", "--passphrase", "", user, "default", "sign");
    const { stdout } = await gpg("--export", user);
    writeFileSync(join(root.path, `${user}.gpg`), stdout);
  }
});

afterAll(async () => {
  await run("gpgconf", ["--homedir", gnupg, "--kill", "all"]);
  await registry[Symbol.asyncDispose]();
  await dockerRegistry[Symbol.asyncDispose]();
  root.remove();
});

function gpg(...args: readonly string[]) {
  return run("gpg", ["--homedir", gnupg, "--batch", "--quiet", ...args], { encoding: "buffer" });
}

async function pull(name: string, signer: string): Promise<void> {
  const rule = { type: "signedBy", keyType: "GPGKeys", keyPath: join(root.path, `${signer}.gpg`) };
  const source = createRegistrySource(registry, parseReference(name), await loadSignatureStores(stores));
  const policy = parsePolicy(Buffer.from(JSON.stringify({ default: [rule] })));
  await copyImage(source, createDirectoryDestination(join(root.path, "pulled")), { policy });
}

it("takes what was signed by the right key for the right name", async () => {
  const image = await makeTestImage();
  const layout = join(root.path, "layout");
  await copyImage(image, createLayoutDestination(layout, "v1"));
  const name = `${dockerRegistry.host}/test/signed`;
  const flags = ["--insecure-policy", "--registries.d", stores, "copy", "--dest-tls-verify=false"];
  const { stdout } = await gpg("--with-colons", "--list-keys", "signer");
  const fingerprint = /^fpr:+([0-9A-F]+):/m.exec(stdout.toString())![1]!;
  await run("skopeo", [...flags, "--sign-by", fingerprint, `oci:${layout}:v1`, `docker://${name}:v1`], {
    env: { ...process.env, GNUPGHOME: gnupg },
  });
  await run("skopeo", [...flags, `oci:${layout}:v1`, `docker://${name}:v2`]);

  await pull(`${name}:v1`, "signer");
  await pull(`${name}@${image.manifest.descriptor.digest}`, "signer");
  expect(readFileSync(join(root.path, "pulled/manifest.json")).equals(image.manifest.bytes)).toBe(true);
  for (const [refused, signer, why] of [
    [`${name}:v1`, "other", "not signed by any of the keys"],
    [`${name}:v2`, "signer", `${name}:v1`],
  ] as const)
    await expect(pull(refused, signer)).rejects.toMatchObject({
      code: "PERMISSION_DENIED",
      message: expect.stringContaining(why),
    });
});
