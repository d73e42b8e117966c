import { execFile } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startDockerRegistry, tempRoot } from "@ocid/testkit";
import { afterAll, expect, test } from "vitest";

// Who logged in with one program is logged in with the other.

const run = promisify(execFile);
const root = tempRoot("ocic-login-");
const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
afterAll(() => root.remove());

function ocic(args: readonly string[], input = "") {
  const child = run(process.execPath, ["--conditions=@ocid/source", main, "--tls-verify=false", ...args], {
    env: { PATH: process.env["PATH"], HOME: root.path },
  });
  child.child.stdin?.end(input);
  return child;
}

test("ocic and skopeo share credentials", async () => {
  const directory = join(root.path, "registry");
  mkdirSync(directory);
  const user = { username: "me", password: "s3cret-pass" };
  await using registry = await startDockerRegistry({ directory, basicAuth: user });
  const authfile = join(root.path, "auth.json");
  const name = `${registry.host}/team/app:v1`;
  const skopeo = (...args: string[]) => run("skopeo", ["--insecure-policy", ...args, "--authfile", authfile]);

  await ocic(["login", registry.host, "-u", "me", "--password-stdin", "--authfile", authfile], "s3cret-pass");
  await ocic(["--authfile", authfile, "import", directory, `docker://${name}`]);
  const seen = await skopeo("inspect", "--raw", "--tls-verify=false", `docker://${name}`);
  expect(JSON.parse(seen.stdout).layers).toHaveLength(1);

  await skopeo("logout", registry.host);
  await expect(ocic(["tags", name.replace(":v1", ""), "--authfile", authfile])).rejects.toMatchObject({
    code: 5,
  });

  await skopeo("login", "--tls-verify=false", "-u", "me", "-p", "s3cret-pass", registry.host);
  const tags = await ocic(["tags", name.replace(":v1", ""), "--authfile", authfile]);
  expect(tags.stdout).toBe("v1\n");
  await ocic(["logout", registry.host, "--authfile", authfile]);
  expect(JSON.parse(readFileSync(authfile, "utf8")).auths).toEqual({});
});
