import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseFlags } from "../flags.ts";
import { loadConfig, readConfig } from "./load-config.ts";

function file(text: string, dropIns: Readonly<Record<string, string>> = {}): string {
  const path = join(mkdtempSync(join(tmpdir(), "ocid-config-")), "ocid.conf");
  writeFileSync(path, text);
  mkdirSync(`${path}.d`);
  for (const [name, dropIn] of Object.entries(dropIns)) writeFileSync(join(`${path}.d`, name), dropIn);
  return path;
}

describe("configuration", () => {
  test("flags win over the environment, that over drop-ins, those over the file, and that over the defaults", async () => {
    const config = file(
      '[storage]\nroot = "/file"\nrunroot = "/file"\n[server]\nstate_dir = "/file"\nlisten = "/file"\n[log]\nlevel = "warn"\n',
      {
        "20-b.conf": '[server]\nstate_dir = "/second"\n[log]\nlevel = "debug"\n',
        "10-a.conf": '[server]\nstate_dir = "/first"\nlisten = "/first"\n[storage]\nrunroot = "/first"\n',
        "ignored.txt": "no configuration",
      },
    );
    const { flags } = parseFlags([
      "--config",
      config,
      "--root",
      "/flag",
      "--cni-plugin-dir",
      "/x",
      "--cni-plugin-dir",
      "/y",
    ]);
    const loaded = await loadConfig({
      flags,
      environment: { OCID_STORAGE_ROOT: "/environment", OCID_SERVER_LISTEN: "/environment" },
    });
    expect(loaded.config).toMatchObject({
      storage: { root: "/flag", runroot: "/first", imagestore: "" },
      server: { listen: "/environment", state_dir: "/second" },
      log: { level: "debug", format: "logfmt" },
      network: { plugin_dirs: ["/x", "/y"] },
    });
    expect(loaded.origins.get("storage.root")).toEqual({ kind: "flag", name: "--root" });
    expect(loaded.origins.get("server.listen")).toEqual({ kind: "environment", name: "OCID_SERVER_LISTEN" });
    expect(loaded.origins.get("log.level")).toEqual({ kind: "file", path: `${config}.d/20-b.conf`, line: 4 });
    expect(loaded.origins.has("log.format")).toBe(false);
  });

  test("lists and numbers come from the environment too", async () => {
    const environment = {
      OCID_NETWORK_PLUGIN_DIRS: "/a:/b",
      OCID_SERVER_STREAM_PORT: "10010",
      OCID_IMAGE_PINNED: "",
    };
    const { config } = await loadConfig({ flags: { config: file("") }, environment });
    expect(config.network.plugin_dirs).toEqual(["/a", "/b"]);
    expect(config.server.stream_port).toBe(10010);
    expect(config.image.pinned).toEqual([]);
  });

  test("runtimes of the file come beside the default one", async () => {
    const config = file('[runtimes.crun]\npath = "/usr/bin/crun"\n');
    const loaded = await loadConfig({ flags: { config } });
    expect(loaded.config.runtimes).toMatchObject({ runc: { path: "runc" }, crun: { path: "/usr/bin/crun" } });
  });

  test("takes what storage.conf says as the default", async () => {
    const storage = { root: "/s", runroot: "/r", imagestore: "/i" };
    const loaded = await loadConfig({ flags: { config: file("") }, storage });
    expect(loaded.config.storage).toEqual(storage);
    expect(loaded.origins.get("storage.root")).toEqual({ kind: "storage.conf" });
  });

  test.each([
    ["[storage]\nrooot = 1", /ocid\.conf:2: unknown setting storage\.rooot \(did you mean storage\.root\?\)/],
    ["[runtime]\nroot = '/x'", /did you mean storage\.root\?/],
    ["[log]\n\nlevel = 'loud'", /:3: log\.level: expected one of debug, info, warn, error, found "loud"/],
    ["[storage]\nroot = 'relative'", /:2: storage\.root: expected an absolute path/],
    ["[storage]\nroot = '/x'\nimagestore = '/x'", /:3: storage\.imagestore: expected another directory/],
    ["[storage]\nroot = 7", /:2: storage\.root: expected a string that is not empty, found 7/],
    ["log.level = 7", /:1: log\.level: expected one of/],
    ["log = { level = 7 }", /:1: log\.level: expected one of/],
    ["log = 7", /:1: unknown setting log /],
    [
      "[runtime]\ndefault = 'kata'",
      /:2: runtime\.default: no \[runtimes\.kata\] is configured \(known: runc\)/,
    ],
    ["[runtimes.x]\npath = '/x'\nroto = '/y'", /:3: runtimes\.x: unknown key roto \(did you mean root\?\)/],
    ["[runtimes.x]\nroot = '/x'", /:1: runtimes\.x: a runtime needs path/],
    ["[runtimes.x]\npath = 3", /:2: runtimes\.x: path: expected a string/],
    ["[runtime]\nhooks_dir = ['/a', 'b']", /:2: runtime\.hooks_dir: expected an absolute path, found "b"/],
    ["[workloads.x]\nresources = {}", /:1: workloads\.x: a workload needs activation_annotation/],
    ["[workloads.x]\nactivation = 'a'", /:2: workloads\.x: unknown key activation/],
    [
      "[workloads.x]\nactivation_annotation = 'a'\nresources = { cpuset = '0-' }",
      /:3: workloads\.x: resources\.cpuset should be a list of CPUs such as "0-1,4", found "0-"/,
    ],
    ["[server]\nstream_tls_cert = '/c.pem'", /stream_tls_cert and server\.stream_tls_key belong together/],
    ["[server]\nstream_port = -1", /expected a whole number from 0 on, found -1/],
    [
      "[http]\nlisten = '0.0.0.0:9538'",
      /:2: http\.listen: 0\.0\.0\.0:9538 is reached from other machines.*set http\.remote/,
    ],
    ["[http]\nlisten = '9538'", /:2: http\.listen: "9538" should be a path, or ADDRESS:PORT/],
    ["[storage\n", /ocid\.conf:1:\d+: /],
  ])("refuses %j", async (text, message) => {
    await expect(loadConfig({ flags: { config: file(text) } })).rejects.toThrow(message);
  });

  test.each(["listen = '127.0.0.1:9538'", "listen = '/run/page.sock'", "listen = '[::]:80'\nremote = true"])(
    "lets the node page be served where %j says",
    async text => {
      const { config } = await loadConfig({ flags: { config: file(`[http]\n${text}\n`) } });
      expect(text).toContain(config.http.listen);
    },
  );

  test("tells all mistakes at once, each with its place", async () => {
    const config = file("[log]\nlevel = 'loud'\nformat = 'xml'\n", { "a.conf": "[image]\npined = []\n" });
    const { problems } = await readConfig({
      flags: { config },
      environment: { OCID_SERVER_STREAM_PORT: "many" },
    });
    expect(problems.map(({ place }) => place)).toEqual([
      `${config}:2`,
      `${config}:3`,
      `${config}.d/a.conf:2`,
      "OCID_SERVER_STREAM_PORT",
    ]);
  });

  test("names a file that was asked for and is not there", async () => {
    await expect(loadConfig({ flags: { config: "/nowhere/ocid.conf" } })).rejects.toThrow(
      /\/nowhere\/ocid\.conf.*ENOENT/,
    );
  });
});

describe("the command line", () => {
  test("refuses unknown flags and stray words", () => {
    expect(() => parseFlags(["--rooot", "/x"])).toThrow(/--rooot.*see ocid --help/);
    expect(() => parseFlags(["start"])).toThrow(/'start'.*see ocid --help/);
    expect(() => parseFlags(["--schema"])).toThrow(/'--schema'/);
  });

  test("takes what config shows as a flag", () => {
    expect(parseFlags(["config", "--default", "--root", "/x"])).toMatchObject({
      words: ["config", "default"],
      flags: { root: "/x" },
    });
  });
});
