import { hostname } from "node:os";
import type { Logger } from "@ocid/base";
import { listenAt } from "../observe/listen-address.ts";
import { EventLog } from "./event-log.ts";
import { LiveSections } from "./live-sections.ts";
import { askDoctor } from "./node-doctor.ts";
import { createPageServer } from "./page-server.ts";
import type { PageSources } from "./page-sources.ts";

export interface PageOptions {
  /** `ADDRESS:PORT`, or the path of a unix socket. */
  readonly listen: string;
  readonly sources: PageSources;
  readonly version: string;
  /** The daemon's own socket and configuration file, for the doctor. */
  readonly socket: string;
  readonly configFile: string | undefined;
  readonly logger: Logger;
}

/** Serves the read-only page of this node; events are noted from here on. */
export async function startPage(options: PageOptions): Promise<AsyncDisposable> {
  const { listen, sources, version, socket, configFile, logger } = options;
  await using stack = new AsyncDisposableStack();
  const name = hostname();
  const sections = new LiveSections({
    ...sources,
    node: { name, version, startedAt: Date.now() - Math.round(process.uptime() * 1000) },
    events: stack.use(new EventLog(sources.overview)),
    askDoctor: signal => askDoctor({ socket, configFile, signal }),
    logger,
  });
  stack.use(await listenAt(createPageServer(sections, name), listen, "the node page"));
  return stack.move();
}
