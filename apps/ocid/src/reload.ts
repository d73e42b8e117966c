import { type Logger, messageOf } from "@ocid/base";
import { changedSettings } from "./config/changed-settings.ts";
import type { Config } from "./config/config-schema.ts";

export interface ReloadOptions {
  readonly config: Config;
  readonly logger: Logger;
  /** Reads the configuration again; throws when it has mistakes. */
  readonly load: () => Promise<Config>;
  /** Makes the settings that can change while the daemon runs those of `config`. */
  readonly apply: (config: Config) => void;
}

/**
 * Reads the configuration again, one time after the other, and puts into force what can change while the daemon runs.
 * What cannot is named in the log. With a mistake in it nothing changes.
 */
export function createReloader(options: ReloadOptions): () => Promise<void> {
  const { logger, load, apply } = options;
  const running = options.config;
  let current = options.config;
  let last: Promise<void> = Promise.resolve();
  const reload = async () => {
    try {
      const next = await load();
      const { reloads } = changedSettings(current, next);
      // Compared with what the daemon was started with: a setting that was set back needs no restart.
      const { needsRestart } = changedSettings(running, next);
      apply(next);
      current = next;
      logger.info("read the configuration again", {
        changed: reloads.join(",") || "nothing",
        ...(needsRestart.length > 0 ? { needsRestart: needsRestart.join(",") } : {}),
      });
    } catch (error) {
      logger.error("the configuration has a mistake, the former one stays in force", {
        error: messageOf(error),
      });
    }
  };
  return () => {
    last = last.then(reload);
    return last;
  };
}
