import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig } from "./config.ts";
import { parseFlags } from "./flags.ts";

function file(text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), "ocid-config-")), "ocid.conf");
  writeFileSync(path, text);
  return path;
}

describe("configuration", () => {
  test("flags win over the file, the file over the defaults", () => {
    const config = file('[storage]\nroot = "/a"\nrunroot = "/b"\n[runtimes.crun]\npath = "/usr/bin/crun"\n');
    const loaded = loadConfig(
      parseFlags(["--config", config, "--root", "/c", "--cni-plugin-dir", "/x", "--cni-plugin-dir", "/y"]),
    );
    expect(loaded.storage).toEqual({ root: "/c", runroot: "/b" });
    expect(loaded.network.plugin_dirs).toEqual(["/x", "/y"]);
    expect(Object.keys(loaded.runtimes)).toEqual(["runc", "crun"]);
    expect(loaded.server.listen).toBe("/run/ocid/ocid.sock");
  });

  test("takes what storage.conf says as the default", () => {
    const config = file("");
    expect(loadConfig({ config }, { root: "/s", runroot: "/r" }).storage).toEqual({
      root: "/s",
      runroot: "/r",
    });
  });

  test.each([
    ["[storage]\nrooot = 1", /unknown setting storage\.rooot/],
    ["[runtime]\nroot = '/x'", /did you mean storage\.root\?/],
    ["[log]\nlevel = 'loud'", /log\.level: expected one of debug, info, warn, error, found "loud"/],
    ["[storage]\nroot = 'relative'", /storage\.root: expected an absolute path/],
    ["[storage]\nroot = 7", /storage\.root: expected a value of type string/],
    ["[runtime]\ndefault = 'kata'", /no \[runtimes\.kata\] is configured \(known: runc\)/],
    ["[runtimes.x]\npath = '/x'\nroto = 1", /unknown key roto/],
    ["[storage\n", /ocid\.conf:1:\d+: /],
  ])("refuses %j", (text, message) => {
    expect(() => loadConfig({ config: file(text) })).toThrow(message);
  });

  test("names a file that was asked for and is not there", () => {
    expect(() => loadConfig({ config: "/nowhere/ocid.conf" })).toThrow(/\/nowhere\/ocid\.conf.*ENOENT/);
  });

  test("refuses unknown flags", () => {
    expect(() => parseFlags(["--rooot", "/x"])).toThrow(/--rooot.*see ocid --help/);
  });
});
