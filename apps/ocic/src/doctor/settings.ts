import { dirname, join } from "node:path";
import { messageOf, OcidError } from "@ocid/base";
import { cleanEnvironment, findExecutable, runProcess } from "@ocid/host";
import { endpointOf, type GlobalOptions, runtimeClient } from "../global-options.ts";

/** What the doctor needs of the daemon's configuration. */
export interface DaemonSettings {
  readonly root: string;
  readonly runRoot: string;
  /** Where images are apart from containers. */
  readonly imageStore: string | undefined;
  readonly stateDir: string;
  readonly socket: string;
  readonly conmon: string;
  /** Programs of the runtime handlers, by handler. */
  readonly runtimes: Readonly<Record<string, string>>;
  readonly cniConfigDir: string;
  readonly cniPluginDirs: readonly string[];
}

export interface KnownDaemon {
  readonly settings: DaemonSettings;
  /** Of daemons that are started without naming one. */
  readonly usualStateDir: string;
  /** Whether it answers. */
  readonly running: boolean;
  /** What `ocid config validate` says, a line for each mistake. */
  readonly mistakes: readonly string[];
  /** Where `ocid` is installed. */
  readonly program: string | undefined;
}

export interface DoctorOptions extends GlobalOptions {
  readonly stateDir?: string;
  readonly config?: string;
}

/**
 * The settings of the daemon: its own answer where it runs, else what `ocid config` says, else the defaults; what is
 * named on the command line wins.
 */
export async function findDaemon(options: DoctorOptions): Promise<KnownDaemon> {
  const program = findExecutable("ocid") ?? findExecutable(join(dirname(process.execPath), "ocid"));
  const configured = program === undefined ? undefined : await askProgram(program, options);
  const running = await askDaemon({
    ...options,
    runtimeEndpoint: options.runtimeEndpoint ?? configured?.values?.socket ?? endpointOf(options),
  });
  const settings = { ...defaults, ...configured?.values, ...running };
  return {
    settings: {
      ...settings,
      root: options.root ?? settings.root,
      runRoot: options.runroot ?? settings.runRoot,
      imageStore: options.imagestore ?? settings.imageStore,
      stateDir: options.stateDir ?? settings.stateDir,
      socket: options.runtimeEndpoint === undefined ? settings.socket : endpointOf(options),
    },
    usualStateDir: configured?.values?.stateDir ?? defaults.stateDir,
    running: running !== undefined,
    mistakes: configured?.mistakes ?? [],
    program,
  };
}

/** Those of a daemon that nobody has configured, for a node without the program. */
const defaults: DaemonSettings = {
  root: "/var/lib/containers/storage",
  runRoot: "/run/containers/storage",
  imageStore: undefined,
  stateDir: "/var/lib/ocid",
  socket: "/run/ocid/ocid.sock",
  conmon: "conmon",
  runtimes: { runc: "runc" },
  cniConfigDir: "/etc/cni/net.d",
  cniPluginDirs: ["/opt/cni/bin", "/usr/lib/cni"],
};

async function askDaemon(options: GlobalOptions): Promise<DaemonSettings | undefined> {
  using client = await runtimeClient(options);
  try {
    const { info } = await client.status({ verbose: true }, { timeoutMs: 5_000 });
    const config = JSON.parse(info["config"] ?? "{}") as Tables;
    const runtimes = (config["runtimes"] ?? {}) as Record<string, { path: string }>;
    return toSettings((table, key) => config[table]?.[key], Object.entries(runtimes));
  } catch (error) {
    if (error instanceof OcidError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** `ocid config` reads files, drop-ins and environment as the daemon does; nobody else needs to know how. */
async function askProgram(
  program: string,
  { config }: DoctorOptions,
): Promise<{ readonly values: DaemonSettings | undefined; readonly mistakes: readonly string[] }> {
  const ask = (...words: readonly string[]) =>
    runProcess({
      path: program,
      args: ["config", ...words],
      env: { ...cleanEnvironment(), ...ownVariables() },
      // A busy node is no mistake in its configuration.
      timeoutMs: 120_000,
    });
  try {
    const validated = await ask("validate", ...(config === undefined ? [] : [config]));
    if (validated.code !== 0)
      return { values: undefined, mistakes: validated.stdout.toString().trim().split("\n") };
    const printed = await ask("--json", ...(config === undefined ? [] : ["--config", config]));
    const values = JSON.parse(printed.stdout.toString()) as Record<string, { readonly value: unknown }>;
    const runtimes = Object.entries(values).flatMap(([key, { value }]) =>
      key.startsWith("runtimes.")
        ? [[key.slice("runtimes.".length), value as { path: string }] as const]
        : [],
    );
    return { values: toSettings((table, key) => values[`${table}.${key}`]?.value, runtimes), mistakes: [] };
  } catch (error) {
    return { values: undefined, mistakes: [`${program} config cannot be asked: ${messageOf(error)}`] };
  }
}

type Tables = Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>;

function toSettings(
  value: (table: string, key: string) => unknown,
  runtimes: readonly (readonly [string, { readonly path: string }])[],
): DaemonSettings {
  return {
    root: String(value("storage", "root")),
    runRoot: String(value("storage", "runroot")),
    imageStore: (value("storage", "imagestore") as string | undefined) || undefined,
    stateDir: String(value("server", "state_dir")),
    socket: String(value("server", "listen")),
    conmon: String(value("runtime", "conmon")),
    runtimes: Object.fromEntries(runtimes.map(([name, { path }]) => [name, path])),
    cniConfigDir: String(value("network", "config_dir")),
    cniPluginDirs: value("network", "plugin_dirs") as readonly string[],
  };
}

/** The environment that the daemon's configuration may come from. */
function ownVariables(): Record<string, string> {
  const names = Object.keys(process.env).filter(name => /^(OCID_|CONTAINERS_STORAGE_CONF$)/.test(name));
  return Object.fromEntries(names.map(name => [name, process.env[name]!]));
}
