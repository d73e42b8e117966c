import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  copyImage,
  createLayoutDestination,
  createRegistryDestination,
  createRegistrySource,
} from "@ocid/image-copy";
import { createRegistryClient, type RegistryClient } from "@ocid/registry";
import { parseReference } from "@ocid/spec";
import { type Cosign, openCosign } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DaemonUnderTest, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

// The policy of a node, at every pull and again when a container is made of what is there.

const run = promisify(execFile);
const ocic = join(import.meta.dirname, "../../../apps/ocic/dist/ocic");
const reject = [{ type: "reject" }];
let daemon: DaemonUnderTest;
let client: RegistryClient;
let cosign: Cosign;
let keys: Awaited<ReturnType<Cosign["makeKey"]>>;
let otherKeys: Awaited<ReturnType<Cosign["makeKey"]>>;
const { pod, container, remove } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest({
    policy: { default: reject },
    signatureStores: root =>
      `default-docker:\n  lookaside: file://${root}/lookaside\n  lookaside-staging: file://${root}/lookaside\n`,
  });
  client = createRegistryClient({ tlsVerify: false });
  cosign = openCosign();
  keys = await cosign.makeKey("mine");
  otherKeys = await cosign.makeKey("other");
  const box = createRegistrySource(client, parseReference(daemon.image));
  await copyImage(box, createLayoutDestination(join(daemon.root, "layout"), "box"));
});

afterAll(async () => {
  cosign[Symbol.dispose]();
  await client[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

/** The policy from now on: these rules for repositories below `test/`, and nothing else is let in. */
function setPolicy(repositories: Readonly<Record<string, readonly object[]>>): void {
  const docker = Object.fromEntries(
    Object.entries(repositories).map(([name, rules]) => [`${daemon.registry}/test/${name}`, rules]),
  );
  writeFileSync(
    join(daemon.root, "policy.json"),
    JSON.stringify({ default: reject, transports: { docker } }),
  );
}
const accept = [{ type: "insecureAcceptAnything" }];
const pull = async (name: string) =>
  await daemon.images.pullImage({ image: { image: `${daemon.registry}/test/${name}` } });
/** As the kubelet knows it: by the code and by how the message begins. */
const refused = (why: string) => ({
  code: "UNKNOWN",
  message: expect.stringMatching(new RegExp(`^SignatureValidationFailed: .*${why}`)),
});
const layers = () => readdirSync(join(daemon.root, "r/overlay"));
const imageOf = (name: string) => ({
  image: { image: `${daemon.registry}/test/${name}`, userSpecifiedImage: `${daemon.registry}/test/${name}` },
});

async function pushTo(name: string): Promise<string> {
  const reference = parseReference(`${daemon.registry}/test/${name}`);
  const { digest } = await copyImage(
    createRegistrySource(client, parseReference(daemon.image)),
    createRegistryDestination(client, reference),
  );
  return `${daemon.registry}/test/${name.split(":")[0]}@${digest}`;
}

test("what the policy rejects is not pulled, and nothing of it stays", async () => {
  const before = layers();
  await expect(pull("box:1")).rejects.toMatchObject(refused("the policy rejects"));
  expect((await daemon.images.listImages({})).images).toEqual([]);
  expect(layers()).toEqual(before);
  writeFileSync(join(daemon.root, "policy.json"), "{ not a policy");
  await expect(pull("box:1")).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringContaining("policy.json"),
  });
  setPolicy({ box: [{ type: "sigstoreSigned", keyPath: "/missing/cosign.pub" }] });
  await expect(pull("box:1")).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringContaining("/missing/cosign.pub"),
  });
});

test("what was pulled is not run any more once the policy is tightened, not as a volume either", async () => {
  setPolicy({ box: accept });
  const { imageRef } = await pull("box:1");
  const p = await pod("tightened");
  await container(p, "before", ["sleep", "1"]);
  setPolicy({});
  await expect(container(p, "after", ["sleep", "1"])).rejects.toMatchObject(refused("the policy rejects"));
  await expect(container(p, "by-id", ["sleep", "1"], { image: { image: imageRef } })).rejects.toMatchObject(
    refused("the policy rejects"),
  );
  await pushTo("other:1");
  setPolicy({ other: accept });
  await pull("other:1");
  const mounts = [
    { containerPath: "/box", readonly: true, image: { image: `${daemon.registry}/test/box:1` } },
  ];
  await expect(
    container(p, "volume", ["sleep", "1"], { ...imageOf("other:1"), mounts }),
  ).rejects.toMatchObject(refused("the policy rejects"));
  await container(p, "other", ["sleep", "1"], imageOf("other:1"));
  await remove(p);
});

test("what GnuPG has signed is pulled, and judged again by the signatures that came with it", async () => {
  const gnupg = join(daemon.root, "gnupg");
  mkdirSync(gnupg, { mode: 0o700 });
  const gpg = (...args: readonly string[]) =>
    run("gpg", ["--homedir", gnupg, "--batch", "--quiet", ...args], { encoding: "buffer" });
  const ring = (user: string) => join(daemon.root, `${user}.gpg`);
  for (const user of ["signer", "stranger"]) {
    await gpg("--quick-generate-key", "--passphrase", "", user, "default", "sign");
    writeFileSync(ring(user), (await gpg("--export", user)).stdout);
  }
  const listed = (await gpg("--with-colons", "--list-keys", "signer")).stdout.toString();
  const fingerprint = /^fpr:+([0-9A-F]+):/m.exec(listed)![1]!;
  const stores = join(daemon.root, "home/.config/containers/registries.d");
  const name = `${daemon.registry}/test/gpg`;
  const flags = ["--insecure-policy", "--registries.d", stores, "copy", "--dest-tls-verify=false"];
  const layout = `oci:${join(daemon.root, "layout")}:box`;
  await run("skopeo", [...flags, "--sign-by", fingerprint, layout, `docker://${name}:1`], {
    env: { ...process.env, GNUPGHOME: gnupg },
  });
  await run("gpgconf", ["--homedir", gnupg, "--kill", "all"]);
  await pushTo("gpg:unsigned");
  const rule = (user: string) => [{ type: "signedBy", keyType: "GPGKeys", keyPath: ring(user) }];

  setPolicy({ gpg: rule("stranger") });
  await expect(pull("gpg:1")).rejects.toMatchObject(refused("not signed by any of the keys"));
  setPolicy({ gpg: rule("signer") });
  await expect(pull("gpg:unsigned")).rejects.toMatchObject(refused("is for"));
  await pull("gpg:1");

  // No signature can be fetched any more.
  rmSync(join(daemon.root, "lookaside"), { recursive: true });
  const p = await pod("gpg");
  await container(p, "signed", ["sleep", "1"], imageOf("gpg:1"));
  setPolicy({ gpg: rule("stranger") });
  await expect(container(p, "tightened", ["sleep", "1"], imageOf("gpg:1"))).rejects.toMatchObject(
    refused("not signed by any of the keys"),
  );
  // Podman reads the store with the signatures in it.
  expect(daemon.podman("images", "--format", "{{.Repository}}:{{.Tag}}")).toContain(`${name}:1`);
  await remove(p);
});

test("what cosign 3 has signed is pulled by the bundle that refers to it, and run without a registry", async () => {
  const pinned = await pushTo("cosign:1");
  const rule = (keyPath: string, more = { signedIdentity: { type: "matchRepository" } }) => [
    { type: "sigstoreSigned", keyPath, ...more },
  ];
  setPolicy({ cosign: rule(keys.publicKey) });
  await expect(pull("cosign:1")).rejects.toMatchObject(refused("no such signature"));
  const flags = ["--allow-http-registry", "--use-signing-config=false", "--tlog-upload=false", "-y"];
  await cosign.run("sign", "--key", keys.key, ...flags, pinned);
  await pull("cosign:1");
  setPolicy({ cosign: rule(otherKeys.publicKey) });
  await expect(pull("cosign:1")).rejects.toMatchObject(refused("not signed by any of the keys"));

  const p = await pod("cosign");
  await expect(container(p, "other", ["sleep", "1"], imageOf("cosign:1"))).rejects.toMatchObject(
    refused("not signed by any of the keys"),
  );
  setPolicy({ cosign: rule(keys.publicKey) });
  await daemon.kill();
  await daemon.start();
  await container(p, "signed", ["sleep", "1"], imageOf("cosign:1"));
  await remove(p);
});

test("ocic signs, and checks signatures without copying anything", async () => {
  const pinned = await pushTo("ocic:1");
  const name = `${daemon.registry}/test/ocic:1`;
  const own = [
    "--root",
    join(daemon.root, "own"),
    "--runroot",
    join(daemon.root, "own-run"),
    "--tls-verify=false",
  ];
  const tool = async (...args: readonly string[]) => {
    try {
      const env = { ...process.env, HOME: join(daemon.root, "home"), COSIGN_PASSWORD: cosign.password };
      const { stdout } = await run(ocic, [...own, ...args], { env });
      return { code: 0, stdout, stderr: "" };
    } catch (error) {
      return error as { readonly code: number; readonly stdout: string; readonly stderr: string };
    }
  };
  const byKey = ["verify", "--signature", "--json", "--key", keys.publicKey];
  expect(await tool(...byKey, name)).toMatchObject({
    code: 24,
    stdout: expect.stringContaining("no such signature"),
  });
  const policy = join(daemon.root, "own-policy.json");
  writeFileSync(policy, JSON.stringify({ default: [{ type: "sigstoreSigned", keyPath: keys.publicKey }] }));
  const byPolicy = ["--policy", policy];
  expect(await tool("pull", ...byPolicy, name)).toMatchObject({
    code: 5,
    stderr: expect.stringContaining("sigstoreSigned"),
  });

  expect(await tool("sign", "--key", keys.key, name)).toMatchObject({ code: 0 });
  const { code, stdout } = await tool(...byKey, name);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual([
    expect.objectContaining({
      name,
      verdict: "signed",
      pinned,
      signedAs: name,
      digest: pinned.split("@")[1],
    }),
  ]);
  expect((await tool("verify", "--signature", "--key", otherKeys.publicKey, name)).code).toBe(24);
  expect((await tool("verify", "--signature", ...byPolicy, name)).code).toBe(0);
  expect((await tool("verify", "--signature", name)).code).toBe(7);
  expect((await tool("pull", ...byPolicy, name)).code).toBe(0);
  expect(
    await tool("copy", ...byPolicy, `docker://${daemon.image}`, `dir:${join(daemon.root, "no")}`),
  ).toMatchObject({
    code: 5,
  });
});
