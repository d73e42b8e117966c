import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { OcidError } from "@ocid/base";
import { type ArtifactBlob, fetchArtifact, pushArtifact, type RegistryClient } from "@ocid/registry";
import {
  type Descriptor,
  digestHex,
  finishDigest,
  formatReference,
  parseReference,
  type Reference,
} from "@ocid/spec";
import type { Command } from "commander";
import { type GlobalOptions, registryClient } from "../global-options.ts";
import { print, printResult } from "../output/output.ts";
import { formatBytes } from "../output/units.ts";

const title = "org.opencontainers.image.title";

interface PushFlags {
  readonly type: string;
  readonly subject?: string;
  readonly annotation?: string[];
}

/** Files in registries that are not images: artifact push, artifact pull. */
export function addArtifactCommands(program: Command): void {
  const artifact = program.command("artifact").description("files of any type in a registry");
  artifact
    .command("push <name> <files...>")
    .description("push files (FILE, or FILE=MEDIA/TYPE) as an artifact")
    .requiredOption("--type <type>", "artifact type, a media type such as application/vnd.example.sbom.v1")
    .option("--subject <image>", "the image that it is about, in the same repository")
    .option("--annotation <name=value...>", "annotations of its manifest")
    .action(async (name: string, files: string[], flags: PushFlags, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using client = registryClient(options);
      const reference = artifactName(name, flags.subject !== undefined);
      const subject =
        flags.subject === undefined ? undefined : await subjectOf(client, reference, flags.subject);
      const annotations = flags.annotation && Object.fromEntries(flags.annotation.map(item => pairOf(item)));
      const blobs = await Promise.all(files.map(fileBlob));
      const pushed = await pushArtifact(client, reference, {
        artifactType: flags.type,
        blobs,
        subject,
        annotations,
      });
      printResult(options.json ?? false, pushed, () => `${pushed.digest}\n`);
    });
  artifact
    .command("pull <name>")
    .description("fetch the files of an artifact")
    .option("-o, --output <directory>", "where to", ".")
    .action(async (name: string, flags: { output: string }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using client = registryClient(options);
      const reference = parseReference(name.replace(/^docker:\/\//, ""));
      const found = await fetchArtifact(client, reference);
      await mkdir(flags.output, { recursive: true });
      for (const blob of found.blobs) {
        const path = join(flags.output, fileName(blob));
        await writeBlob(client, reference, blob, path);
        if (!options.json) print(`${path}  ${formatBytes(blob.size)}\n`);
      }
      if (options.json) printResult(true, found, () => "");
    });
}

/** What has a subject is found through it and needs no tag. */
function artifactName(text: string, hasSubject: boolean): Reference {
  const name = text.replace(/^docker:\/\//, "");
  const reference = parseReference(name);
  const isTagged = reference.tag !== undefined && name.endsWith(`:${reference.tag}`);
  if (isTagged || !hasSubject) return reference;
  return { registry: reference.registry, repository: reference.repository };
}

async function subjectOf(client: RegistryClient, reference: Reference, text: string): Promise<Descriptor> {
  const subject = parseReference(text.replace(/^docker:\/\//, ""));
  if (subject.registry !== reference.registry || subject.repository !== reference.repository)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${formatReference(subject)} is in another repository than ${formatReference(reference)}; a subject is in the same`,
    );
  return await client.resolve(subject);
}

async function fileBlob(text: string): Promise<ArtifactBlob> {
  const [, named, type] = /^(.+)=([\w.+-]+\/[\w.+-]+)$/.exec(text) ?? [];
  const path = named ?? text;
  if (!existsSync(path)) throw new OcidError("NOT_FOUND", `${path} does not exist`);
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of createReadStream(path)) {
    hash.update(chunk);
    size += chunk.length;
  }
  const annotations = { [title]: basename(path) };
  const mediaType = type ?? "application/octet-stream";
  return {
    descriptor: { mediaType, digest: finishDigest(hash), size, annotations },
    open: offset => createReadStream(path, { start: offset }),
  };
}

/** The name that its maker gave a file, where it is one and not a path to somewhere else. */
function fileName(blob: Descriptor): string {
  const name = blob.annotations?.[title];
  if (name === undefined) return digestHex(blob.digest);
  if (name === "" || name.startsWith(".") || /[/\\\p{Cc}]/u.test(name) || name.length > 255)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `the artifact names a file ${JSON.stringify(name.slice(0, 100))}, which is not written`,
    );
  return name;
}

/** Under its name only when it is whole and right. */
async function writeBlob(
  client: RegistryClient,
  reference: Reference,
  blob: Descriptor,
  path: string,
): Promise<void> {
  if (existsSync(path)) throw new OcidError("ALREADY_EXISTS", `${path} exists already`);
  const temporary = `${path}.${process.pid}.partial`;
  try {
    await pipeline(client.openBlob(reference, blob), createWriteStream(temporary, { flags: "wx" }));
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

function pairOf(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 1)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `--annotation should be name=value, found ${JSON.stringify(text)}`,
    );
  return [text.slice(0, at), text.slice(at + 1)];
}
