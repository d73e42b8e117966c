import { messageOf, wrapError } from "@ocid/base";
import { loadStorageConf } from "@ocid/storage";
import { composeDaemon } from "./compose.ts";
import { loadConfig } from "./config.ts";
import { helpText, parseFlags } from "./flags.ts";
import { createLogger } from "./log.ts";
import { version } from "./version.ts";

const graceMs = 5_000;

async function main(argv: readonly string[]): Promise<void> {
  const flags = parseFlags(argv);
  if (flags.help) {
    process.stdout.write(helpText());
    return;
  }
  if (flags.version) {
    process.stdout.write(`ocid ${version}\n`);
    return;
  }
  const storage = loadStorageConf();
  const config = loadConfig(flags, { root: storage.root, runroot: storage.runRoot });
  const logger = createLogger(config.log);
  // Files are made with the modes that they are given.
  process.umask(0o022);
  process.on("unhandledRejection", error =>
    logger.error("a failure that nobody handled", { error: wrapError("unhandled", error) }),
  );
  const daemon = await composeDaemon(config, { version, logger, storage });
  await daemon.server.listen(config.server.listen);
  logger.info("ready", {
    listen: config.server.listen,
    root: config.storage.root,
    version,
    pid: process.pid,
  });
  const signal = await new Promise<string>(resolve => {
    for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, resolve);
  });
  logger.info("stopping; containers go on running", { signal });
  await daemon.server.close(graceMs);
  await daemon[Symbol.asyncDispose]();
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  error => {
    process.stderr.write(`ocid: ${messageOf(error)}\n`);
    process.exit(1);
  },
);
