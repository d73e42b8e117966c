import { type LogFields, OcidError, silentLogger } from "@ocid/base";
import { expect, test } from "vitest";
import { type Config, defaultConfig } from "./config/config-schema.ts";
import { createReloader } from "./reload.ts";

test("what can change does, what cannot is named, and a mistake changes nothing", async () => {
  const lines: [string, LogFields | undefined][] = [];
  const logger = {
    ...silentLogger,
    info: (message: string, fields?: LogFields) => void lines.push([message, fields]),
    error: (message: string, fields?: LogFields) => void lines.push([message, fields]),
  };
  const applied: Config[] = [];
  const changed: Config = {
    ...defaultConfig,
    log: { ...defaultConfig.log, level: "debug" },
    server: { ...defaultConfig.server, stream_port: 1 },
  };
  const next: (Config | Error)[] = [
    changed,
    new OcidError("INVALID_ARGUMENT", "a.conf:1: unknown setting x"),
    changed,
    defaultConfig,
  ];
  const reload = createReloader({
    config: defaultConfig,
    logger,
    async load() {
      const value = next.shift()!;
      if (value instanceof Error) throw value;
      return value;
    },
    apply: config => void applied.push(config),
  });
  await Promise.all([reload(), reload(), reload(), reload()]);
  expect(applied).toEqual([changed, changed, defaultConfig]);
  expect(lines.map(([, fields]) => fields)).toEqual([
    { changed: "log.level", needsRestart: "server.stream_port" },
    { error: "a.conf:1: unknown setting x" },
    { changed: "nothing", needsRestart: "server.stream_port" },
    { changed: "log.level" },
  ]);
});
