import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { tempRoot } from "@ocid/testkit";
import { afterAll, expect, it } from "vitest";

// The packages as other systems would load and use them: Node says that it runs there, koffi cannot be found, and what
// only Linux has below /proc and /sys is not there.

const root = tempRoot("ocid-portable-");
chmodSync(root.path, 0o755);
afterAll(() => root.remove());

const elsewhere = `
import fs from "node:fs";
import { registerHooks, syncBuiltinESMExports } from "node:module";
Object.defineProperty(process, "platform", { value: process.env.PLATFORM });
if (process.platform === "win32") for (const name of ["getuid", "geteuid", "getgid", "getegid"]) delete process[name];
registerHooks({
  resolve(name, context, next) {
    if (name === "koffi") throw new Error("koffi was asked for");
    return next(name, context);
  },
});
for (const owner of [fs, fs.promises])
  for (const [name, original] of Object.entries(owner))
    if (typeof original === "function" && /^[a-z]/.test(name))
      owner[name] = function (path, ...rest) {
        if (/^\\/(proc|sys)(\\/|$)/.test(String(path)) && !/^exists/.test(name)) throw new Error(name + " of " + path);
        return original.call(this, path, ...rest);
      };
syncBuiltinESMExports();
`;

const program = `
import { mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { authFileCredentials, createRegistryClient, loadRegistriesConf } from "@ocid/registry";
import { startTestRegistry } from "@ocid/registry/testing";
import { parseReference } from "@ocid/spec";
import {
  copyImage, createImageDestination, diffImages, importImage, inspectImage, openImageFiles, openImageSource, parseImageName,
} from "@ocid/image-copy";

const work = await mkdtemp(process.env.WORK + "/");
const files = await mkdtemp(work + "/files-");
await writeFile(join(files, "hello.txt"), "hello\\n");
await using server = await startTestRegistry();
await using registry = createRegistryClient({
  tlsVerify: false, registriesConf: loadRegistriesConf(), credentials: authFileCredentials(),
});
await using made = await importImage(files, { temporaryDirectory: work });
const name = "docker://" + server.host + "/a/b:v1";
const places = [name, "oci:" + work + "/l:v1", "oci-archive:" + work + "/a.tar:v1", "dir:" + work + "/d", "docker-archive:" + work + "/s.tar:a/b:v1"];
let source = made;
for (const place of places) {
  await using destination = createImageDestination(parseImageName(place), { registry });
  await copyImage(source, destination, { temporaryDirectory: work });
  source = await openImageSource(parseImageName(place), { registry });
}
await using looked = await openImageFiles(await openImageSource(parseImageName(name), { registry }), { temporaryDirectory: work });
let text = "";
for await (const chunk of looked.read("/hello.txt")) text += Buffer.from(chunk).toString();
const { same, files: changed } = await diffImages(made, await openImageSource(parseImageName(places[1]), {}));
console.log(JSON.stringify({ text, same, changed, os: parseReference("busybox").registry, layers: (await inspectImage(source)).layers.length }));
`;

const asUrl = (text: string) => `data:text/javascript,${encodeURIComponent(text)}`;

function run(platform: string, ...args: readonly string[]): unknown {
  const directory = mkdtempSync(join(root.path, "work-"));
  chmodSync(directory, 0o777);
  // Root would not notice what others may not do.
  const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const output = execFileSync(
    process.execPath,
    ["--conditions=@ocid/source", "--no-warnings", ...args, "--input-type=module", "--eval", program],
    {
      encoding: "utf8",
      cwd: join(import.meta.dirname, ".."),
      env: {
        PATH: process.env["PATH"],
        HOME: directory,
        TMPDIR: directory,
        WORK: directory,
        PLATFORM: platform,
      },
      ...nobody,
    },
  );
  return JSON.parse(output);
}

const expected = { text: "hello\n", same: true, changed: [], os: "docker.io", layers: 1 };

it.each(["darwin", "win32"])("copies and looks into images on %s", { timeout: 60_000 }, platform => {
  expect(run(platform, "--import", asUrl(elsewhere))).toEqual(expected);
});

it("copies and looks into images without privileges", { timeout: 60_000 }, () => {
  expect(run(process.platform)).toEqual(expected);
});
