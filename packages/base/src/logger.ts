/** Values of a log line. Keys are camelCase; ids and names are strings, durations carry their unit (`durationMs`). */
export type LogFields = Readonly<Record<string, unknown>>;

/** What libraries log through. The application decides the format, the level and the sink. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds the fields to each of its lines. */
  child(fields: LogFields): Logger;
}

/** The default of every library: says nothing. */
export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
};
