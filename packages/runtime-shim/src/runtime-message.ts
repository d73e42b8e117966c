/**
 * What a runtime says of a failure, without the time and level of its log lines: with them, the same failure would be
 * another one each time, to whoever counts or compares messages. Lines are logfmt (`time="…" level=error msg="…"`) or
 * JSON; what is neither is kept as it is.
 */
export function runtimeMessage(text: string): string {
  const lines = text
    .split("\n")
    .map(line => line.trim())
    .filter(line => line !== "");
  return lines.map(line => messageOfJson(line) ?? messageOfLogfmt(line) ?? line).join("; ");
}

function messageOfLogfmt(line: string): string | undefined {
  const quoted = /^time=.*? msg=("(?:[^"\\]|\\.)*")/.exec(line)?.[1];
  if (quoted === undefined) return /^time=.*? msg=(\S+)/.exec(line)?.[1];
  try {
    return String(JSON.parse(quoted));
  } catch {
    return quoted.slice(1, -1);
  }
}

function messageOfJson(line: string): string | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const { msg } = JSON.parse(line) as { readonly msg?: unknown };
    return typeof msg === "string" ? msg : undefined;
  } catch {
    return undefined;
  }
}
