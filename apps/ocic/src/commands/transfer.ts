import { existsSync } from "node:fs";
import { OcidError } from "@ocid/base";
import { type CopyOptions, copyImage, importImage as importTree, parseImageName } from "@ocid/image-copy";
import { parsePlatform } from "@ocid/spec";
import type { Command } from "commander";
import { cancellation } from "../cancellation.ts";
import { type GlobalOptions, imagePolicy, platformOf, registryClient } from "../global-options.ts";
import { printError, printResult } from "../output/output.ts";
import { openDestination, openSource, sharedStore, transportPattern } from "./image-places.ts";
import { isJson, showingProgress } from "./image-transfer.ts";

interface TransferOptions extends GlobalOptions {
  readonly all?: boolean;
  readonly progress?: string;
  readonly format?: string;
  readonly preserveDigests?: boolean;
  readonly compression?: string;
  readonly srcTlsVerify?: string;
  readonly destTlsVerify?: string;
  readonly srcCreds?: string;
  readonly destCreds?: string;
}

/** Moving images from place to place, with or without a daemon: copy, push, import. */
export function addTransferCommands(program: Command): void {
  program
    .command("copy <source> <destination>")
    .description(
      "copy an image: docker://NAME, containers-storage:NAME, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], docker-daemon:NAME, dir:DIR; --platform takes a list too, for an index of these platforms",
    )
    .option("-a, --all", "every platform of an index")
    .option("-f, --format <format>", "oci or v2s2 manifests at the destination")
    .option("--preserve-digests", "fail instead of changing a manifest")
    .option(
      "--compression <form>",
      "gzip, zstd or none for the layers at the destination (default: as they are)",
    )
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
  const progress = showingProgress(isJson(options.progress));
  const signal = cancellation();
  const target = await openDestination(destination, { client: to, store, stack });
  const opened = await openSource(source, { client: from, store, stack }, signal);
  const result = await copyImage(opened, target, {
    all: options.all,
    ...platformsOf(options),
    format: formatOf(options.format),
    layerCompression: compressionOf(options.compression),
    preserveDigests: options.preserveDigests,
    policy: isStored(source) ? undefined : await imagePolicy(options),
    onProgress: progress.onProgress,
    signal,
  });
  progress.end();
  const { digest, sourceDigest, indexDigest, changes } = result;
  if (!options.json)
    for (const change of changes) printError(`ocic: not ${sourceDigest} any more: ${change}`);
  printResult(options.json ?? false, { digest, sourceDigest, indexDigest, changes }, () => `${digest}\n`);
}

/** One platform, or with a list the index of these. */
function platformsOf(options: TransferOptions): Pick<CopyOptions, "platform" | "platforms"> {
  const list = options.platform?.split(",") ?? [];
  return list.length > 1
    ? { platforms: list.map(platform => parsePlatform(platform.trim())) }
    : { platform: platformOf(options) };
}

function compressionOf(text: string | undefined): CopyOptions["layerCompression"] {
  if (text === undefined || text === "gzip" || text === "zstd" || text === "none") return text;
  throw new OcidError(
    "INVALID_ARGUMENT",
    `--compression should be gzip, zstd or none, found ${JSON.stringify(text)}`,
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
  const signal = cancellation();
  await using source = await importTree(directory, {
    config,
    signal,
    platform: platformOf(options),
    ...(flags.created === undefined ? {} : { created: flags.created }),
  });
  await using stack = new AsyncDisposableStack();
  const store = sharedStore(stack, options);
  const client = stack.use(registryClient(options));
  const target = transportPattern.test(destination)
    ? destination
    : `containers-storage:${destination.includes("/") ? destination : `localhost/${destination}`}`;
  const result = await copyImage(source, await openDestination(target, { client, store, stack }), {
    platform: platformOf(options),
    signal,
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
