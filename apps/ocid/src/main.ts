import { messageOf, wrapError } from "@ocid/base";
import { limitMalloc, trimMalloc } from "@ocid/host";
import { loadStorageConf } from "@ocid/storage";
import { composeDaemon } from "./compose.ts";
import { type ConfigSources, loadConfig } from "./config/load-config.ts";
import { configCommand, configHelp } from "./config-command.ts";
import { findGroup } from "./find-group.ts";
import { helpText, parseFlags } from "./flags.ts";
import { createLogger, isJournal, type LogOptions } from "./log.ts";
import { startObserving } from "./observe/start-observing.ts";
import { createReloader } from "./reload.ts";
import { announceService } from "./service.ts";
import { version } from "./version.ts";

const graceMs = 5_000;
/** How often memory that was freed is given back to the node. */
const trimMs = 60_000;

async function main(argv: readonly string[]): Promise<number> {
  const { flags, words, help, version: askedVersion } = parseFlags(argv);
  if (help) return say(words[0] === "config" ? configHelp : helpText());
  if (askedVersion) return say(`ocid ${version}\n`);
  const storage = loadStorageConf();
  const sources: ConfigSources = {
    flags,
    environment: process.env,
    storage: { root: storage.root, runroot: storage.runRoot, imagestore: storage.imageStore ?? "" },
  };
  if (words[0] === "config") {
    const { output, exitCode } = await configCommand(words.slice(1), sources);
    return say(output, exitCode);
  }
  limitMalloc({ arenas: 2, mappedBytes: 128 * 1024 });
  const { config } = await loadConfig(sources);
  const logging: LogOptions = { ...config.log, journal: isJournal() };
  const logger = createLogger(logging);
  // Files are made with the modes that they are given.
  process.umask(0o022);
  process.on("unhandledRejection", error =>
    logger.error("a failure that nobody handled", { error: wrapError("unhandled", error) }),
  );
  // Until the daemon is ready a request to read the configuration again has nothing to do, and must not end it.
  let reload: () => Promise<void> = async () => {};
  process.on("SIGHUP", () => void reload());
  const gid = config.server.socket_group === "" ? undefined : findGroup(config.server.socket_group);
  let onOomKill = () => {};
  const daemon = await composeDaemon(config, { version, logger, storage, onOomKill: () => onOomKill() });
  await using observing = await startObserving({
    config,
    version,
    logger,
    environment: process.env,
    sources: daemon.metricsSources,
    pageSources: daemon.pageSources,
    configFile: typeof flags["config"] === "string" ? flags["config"] : undefined,
  });
  onOomKill = observing.countOomKill;
  await daemon.server.listen(config.server.listen, { gid });
  using service = announceService({ logger, environment: process.env, health: observing.health });
  setInterval(() => void trimMalloc(), trimMs).unref();
  const status = `serving on ${config.server.listen}`;
  service.ready(status);
  const apply = createReloader({
    config,
    logger,
    load: async () => (await loadConfig(sources)).config,
    apply(next) {
      logging.level = next.log.level;
      daemon.reconfigure(next);
    },
  });
  reload = async () => {
    service.reloading();
    await apply();
    service.ready(status);
  };
  logger.info("ready", {
    listen: config.server.listen,
    root: config.storage.root,
    version,
    pid: process.pid,
  });
  const signal = await new Promise<string>(resolve => {
    for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, resolve);
  });
  service.stopping();
  logger.info("stopping; containers go on running", { signal });
  await daemon.server.close(graceMs);
  await daemon[Symbol.asyncDispose]();
  return 0;
}

function say(text: string, exitCode = 0): number {
  process.stdout.write(text);
  return exitCode;
}

main(process.argv.slice(2)).then(
  exitCode => process.exit(exitCode),
  error => {
    process.stderr.write(`ocid: ${messageOf(error)}\n`);
    process.exit(1);
  },
);
