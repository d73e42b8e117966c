import { monitorEventLoopDelay } from "node:perf_hooks";
import { type Logger, messageOf } from "@ocid/base";
import { notifyService } from "@ocid/host";

export interface ServiceOptions {
  readonly logger: Logger;
  /** NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID of systemd. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Says what is wrong with the daemon; undefined while it is healthy. */
  readonly health: () => string | undefined;
  readonly notify?: (state: string, socket: string | undefined) => void;
}

/** What the service manager is told of the daemon (sd_notify(3)); nothing where there is none. */
export interface ServiceState extends Disposable {
  ready(status: string): void;
  reloading(): void;
  stopping(): void;
}

/** How long the event loop may have been held, in nanoseconds, for the daemon to count as alive. */
const longestLagNs = 30_000_000_000;

/**
 * Tells the service manager what the daemon does, and feeds its watchdog while the daemon is healthy: nothing has held
 * the event loop for 30 s since the last time, and `health` has nothing to say. A daemon that hangs is not fed, and
 * the service manager starts it again; containers run through that.
 */
export function announceService(options: ServiceOptions): ServiceState {
  const { environment, logger, health, notify = notifyService } = options;
  const socket = environment["NOTIFY_SOCKET"];
  const tell = (...lines: readonly string[]) => {
    try {
      notify(lines.join("\n"), socket);
    } catch (error) {
      logger.warn("the service manager cannot be told", { state: lines[0], error: messageOf(error) });
    }
  };
  const watchdog = feedWatchdog(options, tell);
  return {
    ready: status => tell("READY=1", `STATUS=${status}`),
    reloading() {
      // Type=notify-reload wants the time on the monotonic clock, which is the one hrtime reads.
      tell(
        "RELOADING=1",
        `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`,
        "STATUS=reading the configuration",
      );
    },
    stopping: () => tell("STOPPING=1", "STATUS=stopping; containers go on"),
    [Symbol.dispose]: () => watchdog?.[Symbol.dispose](),
  };

  function feedWatchdog(
    { environment: { WATCHDOG_USEC: period, WATCHDOG_PID: pid } }: ServiceOptions,
    say: (state: string) => void,
  ): Disposable | undefined {
    const periodUs = Number(period);
    if (!(periodUs > 0) || (pid !== undefined && pid !== String(process.pid))) return undefined;
    const lag = monitorEventLoopDelay({ resolution: 100 });
    lag.enable();
    let complained = false;
    const timer = setInterval(() => {
      const problem =
        lag.max > longestLagNs ? `the event loop was held for ${Math.round(lag.max / 1e9)} s` : health();
      lag.reset();
      if (problem === undefined) {
        complained = false;
        say("WATCHDOG=1");
      } else if (!complained) {
        complained = true;
        logger.error("the watchdog is not fed: the service manager will start the daemon again", { problem });
      }
    }, periodUs / 2000).unref();
    return {
      [Symbol.dispose]() {
        clearInterval(timer);
        lag.disable();
      },
    };
  }
}
