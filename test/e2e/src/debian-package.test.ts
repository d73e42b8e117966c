import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildDebianPackage } from "../../../scripts/package/debian.ts";

const root = tempRoot("e2e-deb-");
const tree = join(root.path, "tree");
let path = "";
beforeAll(async () => {
  path = await buildDebianPackage(root.path, { compression: "none" });
  execFileSync("dpkg-deb", ["-x", path, tree]);
});
afterAll(() => root.remove());

const run = (command: string, ...args: string[]) => execFileSync(command, args, { encoding: "utf8" });

test("the package says what it needs, and keeps the operator's configuration", () => {
  expect(run("dpkg-deb", "--field", path, "Depends")).toMatch(
    /^runc \| crun, conmon, containernetworking-plugins,/,
  );
  expect(run("dpkg-deb", "--ctrl-tarfile", path)).toContain("/etc/ocid/ocid.conf");
});

test("the executables run, and take the configuration that is installed", () => {
  expect(run(join(tree, "usr/bin/ocid"), "--version")).toMatch(/^ocid \d/);
  expect(run(join(tree, "usr/bin/ocic"), "--version")).toMatch(/^\d/);
  const config = join(tree, "etc/ocid/ocid.conf");
  expect(run(join(tree, "usr/bin/ocid"), "config", "validate", config)).toBe(`${config}: good\n`);
});

test("what is in the executables is told, with the licences of others", () => {
  const folder = join(tree, "usr/share/doc/ocid");
  const notices = gunzipSync(readFileSync(join(folder, "third-party-licences.gz"))).toString();
  for (const app of ["ocid", "ocic"]) {
    const { metadata, components } = JSON.parse(readFileSync(join(folder, `${app}.cdx.json`), "utf8"));
    expect(metadata.component.name).toBe(app);
    for (const { name, version } of components as { name: string; version: string }[])
      if (!/^(@ocid|@koromix)\/|^node$/.test(name)) expect(notices).toContain(`${name} ${version} (`);
  }
});

test("the unit starts what the package installs", () => {
  const unit = readFileSync(join(tree, "lib/systemd/system/ocid.service"), "utf8");
  const command = /^ExecStart=(\S+)/m.exec(unit)?.[1];
  expect(existsSync(join(tree, command!))).toBe(true);
  expect(unit).toMatch(/^Type=notify$/m);
  expect(unit).toMatch(/^KillMode=process$/m);
});

test.each(["man8/ocid.8", "man1/ocic.1", "man5/ocid.conf.5"])("the manual has %s", name => {
  const page = gunzipSync(readFileSync(join(tree, `usr/share/man/${name}.gz`))).toString();
  expect(page).toMatch(/^\.TH \S+ [158]\n\.SH NAME\n/);
  // A dash that roff may turn into a hyphen could not be copied into a shell.
  expect(page.split("\n").filter(line => /(^|[^\\])--/.test(line))).toEqual([]);
});

test("bash completes commands, what is below them, and options", () => {
  const completions = join(tree, "usr/share/bash-completion/completions/ocic");
  const complete = (...words: string[]) =>
    run(
      "bash",
      "-c",
      `. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ocic; echo "\${COMPREPLY[@]}"`,
      "-",
      completions,
      "ocic",
      ...words,
    ).trim();
  expect(complete("imag")).toBe("images");
  expect(complete("storage", "rep")).toBe("repair");
  expect(complete("storage", "check", "--de")).toBe("--deep");
  expect(complete("pull", "--root", "/x", "--js")).toBe("--json");
});
