import { existsSync } from "node:fs";
import { OcidError } from "@ocid/base";
import { copyImage, importImage as importTree, inspectImage, parseImageName } from "@ocid/image-copy";
import { formatPlatform } from "@ocid/spec";
import type { Store } from "@ocid/storage";
import type { Command } from "commander";
import {
  type GlobalOptions,
  imagePolicy,
  openLocalStore,
  platformOf,
  registryClient,
} from "../global-options.ts";
import { print, printResult, writeAll } from "../output/output.ts";
import { openDestination, openSource, type Places } from "./image-places.ts";
import { showingProgress } from "./image-transfer.ts";

interface TransferOptions extends GlobalOptions {
  readonly all?: boolean;
  readonly progress?: string;
  readonly format?: string;
  readonly preserveDigests?: boolean;
  readonly srcTlsVerify?: string;
  readonly destTlsVerify?: string;
  readonly srcCreds?: string;
  readonly destCreds?: string;
}

/** Moving images from place to place, with or without a daemon: copy, push, import, inspect. */
export function addTransferCommands(program: Command): void {
  program
    .command("copy <source> <destination>")
    .description(
      "copy an image: docker://NAME, containers-storage:NAME, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], dir:DIR",
    )
    .option("-a, --all", "every platform of an index")
    .option("-f, --format <format>", "oci or v2s2 manifests at the destination")
    .option("--preserve-digests", "fail instead of changing a manifest")
    .option("--src-tls-verify <bool>", "check the source registry's certificate")
    .option("--dest-tls-verify <bool>", "check the destination registry's certificate")
    .option("--src-creds <user:password>", "credentials for the source registry")
    .option("--dest-creds <user:password>", "credentials for the destination registry")
    .option("--progress <form>", "json writes progress as events to standard error")
    .action(async (source: string, destination: string, _, command: Command) =>
      transfer(source, destination, command.optsWithGlobals<TransferOptions>()),
    );
  program
    .command("push <image> [destination]")
    .description("push an image of local storage to a registry, by default to the one in its name")
    .option("--progress <form>", "json writes progress as events to standard error")
    .action(async (image: string, destination: string | undefined, _, command: Command) =>
      transfer(
        `containers-storage:${image}`,
        destination ?? `docker://${image}`,
        command.optsWithGlobals<TransferOptions>(),
      ),
    );
  program
    .command("import <directory> <destination>")
    .description(
      "make an image of a directory or a tar archive, in local storage or at any other place that copy knows",
    )
    .option("--entrypoint <json>", "a word, or a JSON list")
    .option("--cmd <json>", "a word, or a JSON list")
    .option("--env <name=value...>", "environment variables")
    .option("--workdir <path>", "working directory")
    .option("--user <user[:group]>", "who its processes run as")
    .option("--label <name=value...>", "labels")
    .option("--created <time>", "RFC 3339; with the same directory and time the image is the same")
    .action(importImage);
  program
    .command("inspect <image>")
    .description(
      "show an image without pulling it: docker://NAME, containers-storage:NAME, oci:DIR[:TAG], dir:DIR",
    )
    .option("--raw", "the manifest's bytes as they are")
    .option("--config", "the config's bytes as they are")
    .action(inspect);
}

async function transfer(source: string, destination: string, options: TransferOptions): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const store = sharedStore(stack, options);
  const from = stack.use(
    registryClient(options, { tlsVerify: options.srcTlsVerify, creds: options.srcCreds }),
  );
  const to = stack.use(
    registryClient(options, { tlsVerify: options.destTlsVerify, creds: options.destCreds }),
  );
  const progress = showingProgress(options.progress === "json");
  const target = await openDestination(destination, { client: to, store, stack });
  const result = await copyImage(await openSource(source, { client: from, store, stack }), target, {
    all: options.all,
    platform: platformOf(options),
    format: formatOf(options.format),
    preserveDigests: options.preserveDigests,
    policy: isStored(source) ? undefined : await imagePolicy(options),
    onProgress: progress.onProgress,
  });
  progress.end();
  printResult(
    options.json ?? false,
    { digest: result.digest, indexDigest: result.indexDigest },
    () => `${result.digest}\n`,
  );
}

/** What lies in local storage has been let in; what leaves it is for others to judge. */
function isStored(source: string): boolean {
  return parseImageName(source).transport === "containers-storage";
}

function formatOf(text: string | undefined): "oci" | "docker" | undefined {
  if (text === undefined) return undefined;
  if (text === "oci") return "oci";
  if (text === "v2s2" || text === "docker") return "docker";
  throw new OcidError("INVALID_ARGUMENT", `--format should be oci or v2s2, found ${JSON.stringify(text)}`);
}

function sharedStore(stack: AsyncDisposableStack, options: GlobalOptions): Places["store"] {
  let opened: Promise<Store> | undefined;
  return () => {
    opened ??= openLocalStore(options).then(store => stack.use(store));
    return opened;
  };
}

interface ImportFlags {
  readonly entrypoint?: string;
  readonly cmd?: string;
  readonly env?: string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly label?: string[];
  readonly created?: string;
}

async function importImage(
  directory: string,
  destination: string,
  flags: ImportFlags,
  command: Command,
): Promise<void> {
  const options = command.optsWithGlobals<TransferOptions>();
  if (!existsSync(directory))
    throw new OcidError("NOT_FOUND", `${directory} does not exist; name a directory or a tar archive`);
  const config = {
    ...(flags.entrypoint === undefined ? {} : { Entrypoint: words(flags.entrypoint, "--entrypoint") }),
    ...(flags.cmd === undefined ? {} : { Cmd: words(flags.cmd, "--cmd") }),
    ...(flags.env === undefined ? {} : { Env: flags.env }),
    ...(flags.workdir === undefined ? {} : { WorkingDir: flags.workdir }),
    ...(flags.user === undefined ? {} : { User: flags.user }),
    ...(flags.label === undefined
      ? {}
      : {
          Labels: Object.fromEntries(flags.label.map(label => label.split(/=(.*)/s, 2) as [string, string])),
        }),
  };
  await using source = await importTree(directory, {
    config,
    platform: platformOf(options),
    ...(flags.created === undefined ? {} : { created: flags.created }),
  });
  await using stack = new AsyncDisposableStack();
  const store = sharedStore(stack, options);
  const client = stack.use(registryClient(options));
  const target = /^(docker:\/\/|oci:|oci-archive:|docker-archive:|dir:|containers-storage:)/.test(destination)
    ? destination
    : `containers-storage:${destination.includes("/") ? destination : `localhost/${destination}`}`;
  const result = await copyImage(source, await openDestination(target, { client, store, stack }), {
    platform: platformOf(options),
  });
  const id = result.image ? `sha256:${result.image.id}` : undefined;
  printResult(
    options.json ?? false,
    { id, digest: result.digest, name: target },
    () => `${id ?? result.digest}\n`,
  );
}

function words(text: string, flag: string): string[] {
  if (!text.startsWith("[")) return [text];
  const list: unknown = JSON.parse(text);
  if (Array.isArray(list) && list.every(item => typeof item === "string")) return list;
  throw new OcidError("INVALID_ARGUMENT", `${flag} should be a word or a JSON list of words`);
}

async function inspect(
  image: string,
  flags: { readonly raw?: boolean; readonly config?: boolean },
  command: Command,
): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions>();
  await using stack = new AsyncDisposableStack();
  const client = stack.use(registryClient(options));
  const store = sharedStore(stack, options);
  // A bare name is one of local storage where there is such an image, else one of a registry.
  const hasTransport = /^(docker:\/\/|oci:|oci-archive:|docker-archive:|dir:|containers-storage:)/.test(
    image,
  );
  const name =
    !hasTransport && (await (await store()).findImage(image)) ? `containers-storage:${image}` : image;
  const found = await inspectImage(await openSource(name, { client, store, stack }), {
    platform: platformOf(options),
  });
  if (flags.raw) return writeAll(1, found.raw);
  if (flags.config) return writeAll(1, found.rawConfig);
  const { config } = found;
  const summary = {
    name: found.name,
    digest: found.digest,
    mediaType: found.mediaType,
    manifestDigest: found.manifestDigest,
    created: config.created,
    platform: formatPlatform(config),
    platforms: found.platforms.map(entry => ({
      platform: formatPlatform(entry.platform),
      digest: entry.digest,
    })),
    config: config.config ?? {},
    layers: found.layers.map(layer => ({
      digest: layer.digest,
      size: layer.size,
      mediaType: layer.mediaType,
    })),
  };
  print(`${JSON.stringify(summary, null, 2)}\n`);
}
