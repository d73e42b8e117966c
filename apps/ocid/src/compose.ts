import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "@ocid/base";
import { openCni } from "@ocid/cni";
import { pullServiceDefinition } from "@ocid/cri-api";
import {
  type CriServer,
  type CriServerOptions,
  createCriServer,
  type Ports,
  type Workload,
} from "@ocid/cri-server";
import { becomeSubreaper, launchNamespaceWorker, statFilesystem } from "@ocid/host";
import { createArtifactStore } from "@ocid/image-copy";
import { createLayerPool } from "@ocid/layer";
import { Nri } from "@ocid/nri";
import { openRuntimeShim } from "@ocid/runtime-shim";
import { openStore, type StorageConf } from "@ocid/storage";
import type { Config, RuntimeConfig } from "./config/config-schema.ts";
import { policyFilesOf, policyFor } from "./image-policy.ts";
import { createImagePort } from "./image-port.ts";
import { createNodePort } from "./node-port.ts";
import { nriOptions } from "./nri-options.ts";
import type { MetricsSources } from "./observe/metrics.ts";
import type { PageSources } from "./page/page-sources.ts";
import { PullHub } from "./pull-hub.ts";
import { createRootfsPort } from "./rootfs-port.ts";
import { readScrubReport, startScrubber } from "./scrub.ts";

export interface Daemon extends AsyncDisposable {
  readonly server: CriServer;
  /** Where metrics are read from. */
  readonly metricsSources: MetricsSources;
  /** What the node page is made of. */
  readonly pageSources: PageSources;
  /** Puts the settings of a changed configuration into force that can change while the daemon runs. */
  reconfigure(config: Config): void;
}

export interface DaemonOptions {
  readonly version: string;
  readonly logger: Logger;
  readonly storage: StorageConf;
  /** Called when a container was killed for want of memory. */
  readonly onOomKill?: () => void;
}

/** Threads that unpack want whole processors; who calls meanwhile comes first (docs/design/performance.md, "Answers while pulling"). */
const layerNiceness = 5;

/** Puts the parts together. Everything that is opened here is closed, in reverse order, when the daemon is disposed of. */
export async function composeDaemon(config: Config, options: DaemonOptions): Promise<Daemon> {
  const { logger, version } = options;
  const stateDir = config.server.state_dir;
  await using stack = new AsyncDisposableStack();
  // What lies in it is closed by itself; roots of user namespaces have to pass through.
  mkdirSync(stateDir, { recursive: true, mode: 0o711 });
  chmodSync(stateDir, 0o711);
  stack.use(becomeSubreaper());
  const layerPool = stack.use(
    createLayerPool({ threads: config.image.parallel_layers || undefined, niceness: layerNiceness }),
  );
  const store = stack.use(
    await openStore({
      root: config.storage.root,
      runRoot: config.storage.runroot,
      imageStore: config.storage.imagestore || undefined,
      mountOptions: options.storage.mountOptions,
      additionalStores: options.storage.additionalStores,
      quota: options.storage.quota,
      layerPool,
      logger: logger.child({ part: "storage" }),
    }),
  );
  const runtime = stack.use(
    await openRuntimeShim({
      stateDir: join(stateDir, "runtime"),
      runDir: join(store.runRoot, "ocid-runtime"),
      runtimes: runtimesOf(config),
      defaultRuntime: config.runtime.default,
      conmonPath: config.runtime.conmon,
      cgroupDriver: config.runtime.cgroup_driver,
      logger: logger.child({ part: "runtime" }),
    }),
  );
  const network = await openCni({
    configDir: config.network.config_dir,
    pluginDirs: config.network.plugin_dirs,
    cacheDir: join(stateDir, "cni"),
    configTemplate: config.network.config_template || undefined,
    logger: logger.child({ part: "cni" }),
  });
  const worker = stack.use(launchNamespaceWorker());
  const pulls = new PullHub();
  let effective = config;
  // Pods that run are looked after also where no image can be used any more.
  await policyFor(policyFilesOf(config), "").catch(error =>
    logger.error("the image policy cannot be read", { error }),
  );
  const ports: Ports = {
    images: createImagePort({
      store,
      artifacts: createArtifactStore(join(store.root, "artifacts")),
      pinned: () => effective.image.pinned,
      pulls,
      policies: () => policyFilesOf(effective),
      logger: logger.child({ part: "images" }),
      userAgent: `ocid/${version}`,
    }),
    rootfs: await createRootfsPort(store, stateDir),
    runtime,
    node: createNodePort(worker, config.runtime.cgroup_driver),
    network,
    plugins: config.nri.enabled
      ? stack.use(
          new Nri({
            ...nriOptions(config),
            runtime: { name: "ocid", version },
            logger: logger.child({ part: "nri" }),
          }),
        )
      : undefined,
  };
  const server = await createCriServer({
    ports,
    stateDir,
    version,
    logger,
    streaming: streamingOptions(config),
    cdiSpecDirs: config.runtime.cdi_spec_dirs,
    hookDirs: () => effective.runtime.hooks_dir,
    workloads: () => workloadsOf(effective),
    onContainerEnd: ({ oomKilled }) => {
      if (oomKilled) options.onOomKill?.();
    },
    statsPeriodMs: config.stats.period_seconds * 1_000,
    configuration: config,
    services: [{ definition: pullServiceDefinition, implementation: pulls.implementation() }],
  });
  await store.recover();
  await server.recover();
  // What a crash in the middle of a removal has left is nobody's by now; only what is older than a day is taken.
  await store
    .collectGarbage()
    .catch(error => logger.warn("the store's leftovers could not be collected", { error }));
  stack.use(
    startScrubber({
      store: {
        root: store.root,
        runRoot: store.runRoot,
        imageStore: config.storage.imagestore || undefined,
        additionalStores: options.storage.additionalStores,
        bytesPerSecond: Math.max(1, config.scrub.mib_per_second) * 2 ** 20,
      },
      reportFile: join(stateDir, "scrub.json"),
      intervalMs: config.scrub.interval_hours * 3_600_000,
      logger: logger.child({ part: "scrub" }),
    }),
  );
  const owned = stack.move();
  return {
    server,
    metricsSources: {
      version,
      counts: () => server.counts(),
      async storage() {
        const { images, containers } = await store.usage();
        const count = (await store.listImages()).length;
        return { images: count, imageBytes: images.bytes, containerBytes: containers.bytes };
      },
      pulls: () => ({ underWay: pulls.underWay().length, bytes: pulls.fetchedBytes }),
      scrub: () => readScrubReport(join(stateDir, "scrub.json")),
    },
    pageSources: {
      overview: server.overview,
      images: () => store.imageDiskUsage(),
      async store() {
        const { images, containers } = await store.usage();
        const { blockSize, blocks, blocksFree } = statFilesystem(store.root);
        const bytes = (count: bigint) => Number(count) * blockSize;
        return {
          imageBytes: images.bytes,
          containerBytes: containers.bytes,
          diskBytes: bytes(blocks),
          diskFree: bytes(blocksFree),
        };
      },
      pulls: () => pulls.underWay(),
    },
    reconfigure(next) {
      effective = next;
      runtime.configure(runtimesOf(next));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function runtimesOf({ runtimes }: Config): readonly (RuntimeConfig & { readonly name: string })[] {
  return Object.entries(runtimes).map(([name, runtime]) => ({ ...runtime, name }));
}

function workloadsOf({ workloads }: Config): readonly Workload[] {
  return Object.values(workloads).map(workload => ({
    activationAnnotation: workload.activation_annotation,
    annotationPrefix: workload.annotation_prefix,
    resources: workload.resources ?? {},
  }));
}

function streamingOptions({ server }: Config): NonNullable<CriServerOptions["streaming"]> {
  const { stream_tls_cert: cert, stream_tls_key: key } = server;
  return {
    address: server.stream_address,
    port: server.stream_port,
    idleTimeoutMs: server.stream_idle_timeout * 1000,
    ...(cert === "" ? {} : { tls: { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") } }),
  };
}
