import { type ImageInspection, inspectImage, type Referrer, readReferrers } from "@ocid/image-copy";
import { formatPlatform, parseReference } from "@ocid/spec";
import type { Command } from "commander";
import { type GlobalOptions, platformOf, registryClient } from "../global-options.ts";
import { print, printResult, printRows, writeAll } from "../output/output.ts";
import { printable } from "../output/printable.ts";
import { formatBytes, shortId } from "../output/units.ts";
import { openForReading, sharedStore } from "./image-places.ts";

interface InspectFlags {
  readonly raw?: boolean;
  readonly config?: boolean;
  readonly manifest?: boolean;
  readonly layers?: boolean;
  readonly labels?: boolean;
  readonly platforms?: boolean;
  readonly referrers?: boolean;
}

/** What an image says of itself. */
export function addInspectCommand(program: Command): void {
  program
    .command("inspect <image>")
    .description(
      "show an image without pulling it, from any place that copy knows; a bare name is one of local storage, or of a registry",
    )
    .option("--raw", "the bytes of what the name points at: the index where there is one")
    .option("--manifest", "the bytes of the platform's manifest")
    .option("--config", "the bytes of the config")
    .option("--layers", "digest, size and type of each layer, from the base up")
    .option("--labels", "the labels")
    .option("--platforms", "what an index offers")
    .option("--referrers", "the tree of signatures, SBOMs and attestations that a registry has of the image")
    .action(inspect);
}

async function inspect(image: string, flags: InspectFlags, command: Command): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions>();
  const json = options.json ?? false;
  await using stack = new AsyncDisposableStack();
  const client = stack.use(registryClient(options));
  const source = await openForReading(image, { client, store: sharedStore(stack, options), stack });
  const found = await inspectImage(source, { platform: platformOf(options) });
  if (flags.raw) return writeAll(1, found.raw);
  if (flags.manifest) return writeAll(1, found.rawManifest);
  if (flags.config) return writeAll(1, found.rawConfig);
  if (flags.layers) {
    const rows = found.layers.map(layer => [layer.digest, formatBytes(layer.size), layer.mediaType]);
    return printRows(json, found.layers, ["layer", "size", "type"], rows);
  }
  if (flags.labels)
    return printRows(
      json,
      found.labels,
      ["label", "value"],
      Object.entries(found.labels).map(pair => pair.map(printable)),
    );
  if (flags.platforms) {
    const rows = found.platforms.map(({ platform, digest }) => [formatPlatform(platform), digest]);
    return printRows(json, platformsOf(found), ["platform", "digest"], rows);
  }
  if (flags.referrers) {
    const reference = parseReference(source.name.replace(/^docker:\/\//, ""));
    if (!source.name.startsWith("docker://"))
      return printResult(json, [], () => "only registries know what refers to an image\n");
    const subjects = [...new Set([found.digest, found.manifestDigest])];
    const trees = await Promise.all(
      subjects.map(async digest => ({
        digest,
        referrers: [
          ...(await readReferrers(client, reference, digest)),
          ...(digest === found.manifestDigest ? builtIn(found) : []),
        ],
      })),
    );
    return printResult(json, trees, () =>
      trees.map(({ digest, referrers }) => `${digest}\n${drawTree(referrers, "")}`).join(""),
    );
  }
  print(`${JSON.stringify(summary(found), null, 2)}\n`);
}

/** What builders put into the index instead of beside it. */
function builtIn({ attestations }: ImageInspection): readonly Referrer[] {
  return attestations.map(descriptor => ({ kind: "attestation", descriptor, referrers: [] }));
}

function drawTree(referrers: readonly Referrer[], indent: string): string {
  return referrers
    .map((referrer, at) => {
      const isLast = at === referrers.length - 1;
      const { kind, descriptor, tag } = referrer;
      const what = printable(tag ?? descriptor.artifactType ?? descriptor.mediaType);
      const line = `${indent}${isLast ? "└── " : "├── "}${kind}  ${shortId(descriptor.digest)}  ${what}\n`;
      return line + drawTree(referrer.referrers, `${indent}${isLast ? "    " : "│   "}`);
    })
    .join("");
}

function platformsOf({ platforms }: ImageInspection) {
  return platforms.map(({ platform, digest }) => ({ platform: formatPlatform(platform), digest }));
}

function summary(found: ImageInspection) {
  const { config } = found;
  return {
    name: found.name,
    digest: found.digest,
    mediaType: found.mediaType,
    manifestDigest: found.manifestDigest,
    created: config.created,
    platform: formatPlatform(config),
    platforms: platformsOf(found),
    config: config.config ?? {},
    layers: found.layers.map(({ digest, size, mediaType }) => ({ digest, size, mediaType })),
  };
}
