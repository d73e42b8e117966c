import type { Logger } from "@ocid/base";
import type { Config } from "../config/config-schema.ts";
import type { MetricsSources } from "./metrics.ts";
import { watchStages } from "./operations.ts";
import { startTracing, wantsTraces } from "./tracing.ts";

export interface ObservingOptions {
  readonly config: Config;
  readonly version: string;
  readonly logger: Logger;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly sources: MetricsSources;
}

export interface Observing extends AsyncDisposable {
  /** What is wrong with the daemon, for the watchdog; undefined while it is healthy. */
  health(): string | undefined;
  countOomKill(): void;
}

/** Starts what tells of the daemon's work: the watch over its stages, and metrics and traces where they are wanted. */
export async function startObserving(options: ObservingOptions): Promise<Observing> {
  const { config, logger, version, environment } = options;
  await using stack = new AsyncDisposableStack();
  const stages = stack.use(
    watchStages({
      logger: logger.child({ part: "watch" }),
      slowMs: Math.max(1, config.watch.slow_seconds) * 1000,
      stuckMs: (config.watch.stuck_seconds || Number.POSITIVE_INFINITY) * 1000,
    }),
  );
  if (wantsTraces(environment)) stack.use(await startTracing(version, environment));
  let countOomKill = () => {};
  if (config.metrics.listen !== "") {
    // Loaded only where it is used: most of a start is the loading of modules.
    const [{ collectMetrics }, { serveMetrics }] = await Promise.all([
      import("./metrics.ts"),
      import("./metrics-server.ts"),
    ]);
    const metrics = stack.use(collectMetrics(options.sources));
    countOomKill = metrics.countOomKill;
    stack.use(await serveMetrics(config.metrics.listen, metrics));
    logger.info("serving metrics", { listen: config.metrics.listen });
  }
  const owned = stack.move();
  return {
    health: () => stages.health(),
    countOomKill: () => countOomKill(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
