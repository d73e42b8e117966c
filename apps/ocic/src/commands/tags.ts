import { OcidError } from "@ocid/base";
import { formatReference, parseReference, type Reference } from "@ocid/spec";
import type { Command } from "commander";
import { type GlobalOptions, registryClient } from "../global-options.ts";
import { print, printResult } from "../output/output.ts";
import { firstReference } from "./image-places.ts";

/** What a registry's repository has: tags, delete. */
export function addTagCommands(program: Command): void {
  program
    .command("tags <repository>")
    .description("list the tags of a repository in a registry")
    .option("--after <tag>", "only those after this one, in the registry's order")
    .option("--limit <count>", "no more than so many")
    .action(async (text: string, flags: { after?: string; limit?: string }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const limit = flags.limit === undefined ? Number.POSITIVE_INFINITY : Number(flags.limit);
      if (!(limit > 0))
        throw new OcidError("INVALID_ARGUMENT", `--limit should be a number, found ${flags.limit}`);
      await using client = registryClient(options);
      const tags: string[] = [];
      const pageSize = Math.min(1000, limit);
      for await (const tag of client.listTags(firstReference(bareName(text)), {
        after: flags.after,
        pageSize,
      })) {
        tags.push(tag);
        if (!options.json) print(`${tag}\n`);
        if (tags.length >= limit) break;
      }
      if (options.json) printResult(true, tags, () => "");
    });
  program
    .command("delete <image>")
    .description(
      "delete from a registry: a tag alone (NAME:TAG), or a manifest (NAME@DIGEST) that no tag points at any more",
    )
    .option("--with-tags", "with a digest: also the tags that point at it")
    .option("--dry-run", "say what would go, and leave it")
    .action(async (text: string, flags: { withTags?: boolean; dryRun?: boolean }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const reference = namedExactly(text);
      await using client = registryClient(options);
      const { digest } = await client.resolve(reference);
      const tags = reference.digest === undefined ? [reference.tag!] : await client.tagsOf(reference, digest);
      const gone = { digest, tags, dryRun: flags.dryRun ?? false };
      if (!flags.dryRun) await client.deleteManifest(reference, { withTags: flags.withTags });
      const verb = flags.dryRun ? "would delete" : "deleted";
      const what = reference.digest === undefined ? [] : [digest];
      printResult(options.json ?? false, gone, () =>
        [...what, ...tags].map(name => `${verb} ${name}\n`).join(""),
      );
    });
}

function bareName(text: string): string {
  return text.replace(/^docker:\/\//, "");
}

/** What is deleted is written out: nothing is taken for `latest`, and no short name is looked up. */
function namedExactly(text: string): Reference {
  const name = bareName(text);
  const reference = parseReference(name);
  if (reference.digest === undefined && !name.endsWith(`:${reference.tag}`))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${text}: say which tag or digest to delete, ${formatReference(reference)} for example`,
    );
  return reference;
}
