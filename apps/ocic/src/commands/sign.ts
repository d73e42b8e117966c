import { OcidError } from "@ocid/base";
import { parseSigningKey, signImage } from "@ocid/image-copy";
import { parseReference } from "@ocid/spec";
import type { Command } from "commander";
import { type GlobalOptions, registryClient } from "../global-options.ts";
import { ask } from "../output/ask.ts";
import { printResult } from "../output/output.ts";
import { readNamedFile } from "./read-file.ts";

interface SignFlags {
  readonly key: string;
  readonly passwordFile?: string;
  readonly identity?: string;
  readonly only?: string;
}

/** Signatures for images in registries. */
export function addSignCommand(program: Command): void {
  program
    .command("sign <image>")
    .description(
      "sign an image in a registry with a key, so that cosign, podman and this node's policy know it",
    )
    .requiredOption("--key <file>", "private key in PEM, also cosign's encrypted one")
    .option("--password-file <file>", "where the key's password is; else COSIGN_PASSWORD, or it is asked for")
    .option("--identity <name>", "the name that the signature gives the image (default: the image's)")
    .option(
      "--only <layout>",
      "attachment (read by podman, skopeo and CRI-O) or bundle (cosign 3); default both",
    )
    .action(async (name: string, flags: SignFlags, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const key = await parseSigningKey(await readNamedFile(flags.key, "private key"), () =>
        passwordOf(flags),
      );
      await using client = registryClient(options);
      const reference = parseReference(name.replace(/^docker:\/\//, ""));
      const signed = await signImage(client, reference, key, {
        identity: flags.identity === undefined ? undefined : parseReference(flags.identity),
        only: layoutOf(flags.only),
      });
      printResult(options.json ?? false, signed, () => `${signed.digest}\n`);
    });
}

function layoutOf(text: string | undefined): "attachment" | "bundle" | undefined {
  if (text === undefined || text === "attachment" || text === "bundle") return text;
  throw new OcidError(
    "INVALID_ARGUMENT",
    `--only should be attachment or bundle, found ${JSON.stringify(text)}`,
  );
}

async function passwordOf({ passwordFile, key }: SignFlags): Promise<string> {
  if (passwordFile !== undefined)
    return Buffer.from(await readNamedFile(passwordFile, "password"))
      .toString("utf8")
      .replace(/\r?\n$/, "");
  return process.env["COSIGN_PASSWORD"] ?? (await ask(`password of ${key}: `, { hidden: true }));
}
