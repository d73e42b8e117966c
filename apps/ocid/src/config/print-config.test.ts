import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "smol-toml";
import { describe, expect, test } from "vitest";
import { configCommand } from "../config-command.ts";
import { changedSettings } from "./changed-settings.ts";
import { defaultConfig } from "./config-schema.ts";
import { configJsonSchema } from "./json-schema.ts";
import { loadConfig } from "./load-config.ts";
import { printConfig } from "./print-config.ts";

function file(text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), "ocid-config-")), "ocid.conf");
  writeFileSync(path, text);
  return path;
}

describe("the printed configuration", () => {
  test("read again, is the same configuration", async () => {
    const config = file(
      '[image]\npinned = ["a/b:1"]\n[log]\nlevel = "error"\n[runtimes."odd name"]\npath = "/x"\nannotations = ["a*"]\n[workloads.w]\nactivation_annotation = "a"\nresources = { cpuset = "0" }\n',
    );
    const loaded = await loadConfig({ flags: { config, "stream-port": "7" } });
    const again = await loadConfig({ flags: { config: file(printConfig(loaded)) } });
    expect(again.config).toEqual(loaded.config);
    expect(printConfig(loaded)).toContain(`# from ${config}:4; default "info"\nlevel = "error"`);
    expect(printConfig(loaded)).toContain("# from --stream-port; default 0\nstream_port = 7");
  });

  test("of the defaults is TOML that says each setting", async () => {
    const { output } = await configCommand(["default"], {});
    expect(parse(output)).toEqual(defaultConfig);
  });

  test("as JSON has values and origins", async () => {
    const { output } = await configCommand(["json"], { flags: { config: file(""), root: "/x" } });
    expect(JSON.parse(output)).toMatchObject({
      "storage.root": { value: "/x", origin: { kind: "flag", name: "--root" } },
      "log.level": { value: "info", origin: { kind: "default" } },
      "runtimes.runc": { value: { path: "runc" } },
    });
  });
});

describe("ocid config validate", () => {
  test("says what is wrong, and ends with 1", async () => {
    const path = file("[log]\nlevle = 'info'\n");
    expect(await configCommand(["validate", path], {})).toEqual({
      output: `${path}:2: unknown setting log.levle (did you mean log.level?)\n`,
      exitCode: 1,
    });
    expect(await configCommand(["validate", file("[log]\nlevel = 'warn'\n")], {})).toMatchObject({
      exitCode: 0,
    });
    expect((await configCommand(["validate", file("[log")], {})).exitCode).toBe(1);
  });

  test("refuses words it does not know", async () => {
    await expect(configCommand(["show"], {})).rejects.toThrow(/ocid config show is not known/);
    await expect(configCommand(["default", "x"], {})).rejects.toThrow(/does not take "default x"/);
  });
});

test("the JSON Schema that the documentation has is the one of this version", () => {
  const path = join(import.meta.dirname, "../../../../docs/operate/ocid.schema.json");
  expect(JSON.parse(readFileSync(path, "utf8"))).toEqual(configJsonSchema());
});

test("changes are told apart by whether they need a restart", () => {
  const after = {
    ...defaultConfig,
    log: { level: "debug", format: "json" } as const,
    runtimes: { ...defaultConfig.runtimes, crun: { path: "crun" } },
    workloads: { w: { activation_annotation: "a" } },
  };
  expect(changedSettings(defaultConfig, after)).toEqual({
    reloads: ["log.level", "runtimes.crun", "workloads.w"],
    needsRestart: ["log.format"],
  });
  expect(changedSettings(after, structuredClone(after))).toEqual({ reloads: [], needsRestart: [] });
});
