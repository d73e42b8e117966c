import { readFileSync } from "node:fs";
import { type Logger, messageOf, writeAtomic } from "@ocid/base";
import { type Finding, type ScrubOptions, scrubStore } from "@ocid/storage";

/** What the last check of the whole store has found; kept as JSON, for whoever reports on the daemon. */
export interface ScrubReport {
  /** RFC 3339. */
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly findings: readonly Finding[];
}

export interface ScrubberOptions {
  readonly store: ScrubOptions;
  /** Where the report is kept. */
  readonly reportFile: string;
  /** From the end of one check to the start of the next, also over restarts; 0 never checks. */
  readonly intervalMs: number;
  /** How long after the start of the daemon at the earliest. Default 10 minutes. */
  readonly settleMs?: number | undefined;
  readonly logger: Logger;
}

/** The report that the last check has left; undefined when there is none that can be read. */
export function readScrubReport(file: string): ScrubReport | undefined {
  try {
    const report = JSON.parse(readFileSync(file, "utf8")) as Partial<ScrubReport>;
    return Array.isArray(report.findings) && typeof report.finishedAt === "string"
      ? (report as ScrubReport)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Checks the store in the background from time to time, until it is disposed of. It mends nothing by itself. */
export function startScrubber(options: ScrubberOptions): Disposable {
  const { intervalMs, settleMs = 600_000, logger, reportFile } = options;
  const controller = new AbortController();
  const { signal } = controller;
  let timer: NodeJS.Timeout | undefined;
  const plan = () => {
    const last = Date.parse(readScrubReport(reportFile)?.finishedAt ?? "") || 0;
    const wait = Math.max(settleMs, last + intervalMs - Date.now());
    // Timers of Node end at 2^31 ms; whoever asks for more looks again then.
    timer = setTimeout(() => void work(), Math.min(wait, 2 ** 31 - 1)).unref();
  };
  const work = async () => {
    const last = Date.parse(readScrubReport(reportFile)?.finishedAt ?? "") || 0;
    try {
      if (Date.now() >= last + intervalMs) await scrub(options, signal);
    } catch (error) {
      if (!signal.aborted) logger.warn("the store could not be checked", { error: messageOf(error) });
    }
    if (!signal.aborted) plan();
  };
  if (intervalMs > 0) plan();
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      controller.abort(new Error("the daemon stops"));
    },
  };
}

async function scrub({ store, reportFile, logger }: ScrubberOptions, signal: AbortSignal): Promise<void> {
  const startedAt = new Date().toISOString();
  const findings = await scrubStore(store, { signal });
  for (const { kind, message, remedy } of findings)
    logger.warn("the store is damaged; `ocic storage repair --deep` mends it", {
      finding: kind,
      remedy,
      what: message,
    });
  const report: ScrubReport = { startedAt, finishedAt: new Date().toISOString(), findings };
  await writeAtomic(reportFile, `${JSON.stringify(report)}\n`);
  logger.info("checked the store", { findings: findings.length });
}
