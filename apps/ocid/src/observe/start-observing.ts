import type { Logger } from "@ocid/base";
import type { Config } from "../config/config-schema.ts";
import type { PageSources } from "../page/page-sources.ts";
import type { MetricsSources } from "./metrics.ts";
import { watchStages } from "./operations.ts";
import { startTracing, wantsTraces } from "./tracing.ts";

export interface ObservingOptions {
  readonly config: Config;
  readonly version: string;
  readonly logger: Logger;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly sources: MetricsSources;
  readonly pageSources: PageSources;
  /** As it was named on the command line. */
  readonly configFile: string | undefined;
}

export interface Observing extends AsyncDisposable {
  /** What is wrong with the daemon, for the watchdog; undefined while it is healthy. */
  health(): string | undefined;
  countOomKill(): void;
}

/** Starts what tells of the daemon's work: the watch over its stages, and metrics, traces and the node page where they are wanted. */
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
  if (config.http.listen !== "") {
    const { startPage } = await import("../page/start-page.ts");
    const { listen } = config.http;
    stack.use(
      await startPage({
        listen,
        version,
        sources: options.pageSources,
        socket: config.server.listen,
        configFile: options.configFile,
        logger: logger.child({ part: "page" }),
      }),
    );
    logger.info("serving the node page", { listen });
  }
  const owned = stack.move();
  return {
    health: () => stages.health(),
    countOomKill: () => countOomKill(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
