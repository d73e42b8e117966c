import { fstatSync, writeSync } from "node:fs";
import { isOcidError, type LogFields, type Logger, redact } from "@ocid/base";

const levels = ["debug", "info", "warn", "error"] as const;
type Level = (typeof levels)[number];

export interface LogOptions {
  /** May change at any time, for this logger and its children. */
  level: Level;
  readonly format: "logfmt" | "json";
  /** Whether the journal reads the lines: it has times of its own, and takes the priority from their beginning. */
  readonly journal?: boolean;
  /** Where a finished line goes. Default: standard error. */
  readonly write?: (line: string) => void;
}

/** How a line tells the journal its priority (sd-daemon(3)). */
const priorities: Readonly<Record<Level, string>> = { debug: "<7>", info: "<6>", warn: "<4>", error: "<3>" };

/** Whether standard error leads to the journal: JOURNAL_STREAM names its device and inode (systemd.exec(5)). */
export function isJournal(stream: string | undefined = process.env["JOURNAL_STREAM"], fd = 2): boolean {
  if (stream === undefined) return false;
  const { dev, ino } = fstatSync(fd);
  return stream === `${dev}:${ino}`;
}

/** Logs one line per event, credentials cut out. */
export function createLogger(options: LogOptions, fields: LogFields = {}): Logger {
  const write = options.write ?? (line => writeSync(2, line));
  const log =
    (level: Level) =>
    (message: string, more: LogFields = {}) => {
      if (levels.indexOf(level) < levels.indexOf(options.level)) return;
      const entry = {
        ...(options.journal ? {} : { time: new Date().toISOString() }),
        level,
        message,
        ...fields,
        ...more,
      };
      const line = options.format === "json" ? JSON.stringify(entry, toJson) : logfmt(entry);
      write(`${options.journal ? priorities[level] : ""}${line}\n`);
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
