import { writeSync } from "node:fs";
import { isOcidError, type LogFields, type Logger, redact } from "@ocid/base";

const levels = ["debug", "info", "warn", "error"] as const;
type Level = (typeof levels)[number];

export interface LogOptions {
  readonly level: Level;
  readonly format: "logfmt" | "json";
  /** Where a finished line goes. Default: standard error. */
  readonly write?: (line: string) => void;
}

/** Logs one line per event, credentials cut out. */
export function createLogger(options: LogOptions, fields: LogFields = {}): Logger {
  const write = options.write ?? (line => writeSync(2, line));
  const least = levels.indexOf(options.level);
  const log =
    (level: Level) =>
    (message: string, more: LogFields = {}) => {
      if (levels.indexOf(level) < least) return;
      const entry = { time: new Date().toISOString(), level, message, ...fields, ...more };
      write(`${options.format === "json" ? JSON.stringify(entry, toJson) : logfmt(entry)}\n`);
    };
  return {
    debug: log("debug"),
    info: log("info"),
    warn: log("warn"),
    error: log("error"),
    child: more => createLogger(options, { ...fields, ...more }),
  };
}

function logfmt(entry: LogFields): string {
  return Object.entries(entry)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${quote(text(value))}`)
    .join(" ");
}

function quote(value: string): string {
  return /^[^\s"=\\]+$/.test(value) ? value : JSON.stringify(value);
}

function text(value: unknown): string {
  if (typeof value === "string") return redact(value);
  if (typeof value === "object" && value !== null)
    return redact(JSON.stringify(toJson("", value), toJson) ?? "");
  return String(value);
}

function toJson(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Error)
    return {
      message: redact(value.message),
      ...(isOcidError(value) ? { code: value.code } : {}),
      stack: value.stack,
    };
  return typeof value === "string" ? redact(value) : value;
}
