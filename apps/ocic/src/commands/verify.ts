import { Semaphore } from "@ocid/base";
import { type Comparison, compareImage, verifyStoredImage } from "@ocid/image-copy";
import type { RegistryClient } from "@ocid/registry";
import type { Store } from "@ocid/storage";
import type { Command } from "commander";
import { ExitWith } from "../exit-code.ts";
import { type GlobalOptions, openLocalStore, platformOf, registryClient } from "../global-options.ts";
import { printRows } from "../output/output.ts";
import { shortId } from "../output/units.ts";
import { imagesToVerify, type NamedImage, type VerifyFlags } from "./images-to-verify.ts";
import { type SignatureFlags, verifySignatures } from "./verify-signatures.ts";

/** What each verdict ends the command with; the gravest counts. */
const exitCodes = { same: 0, stale: 20, gone: 21, unknown: 22, tampered: 23 } as const;
const imagesAtOnce = 4;

/** Is the image here still the registry's? */
export function addVerifyCommand(program: Command): void {
  program
    .command("verify [images...]")
    .description(
      "say whether stored images, or those of running containers, are still what the registry serves: same, stale, gone, unknown, tampered",
    )
    .option("--all", "every image on this node, and those that containers run")
    .option("--container <id>", "the image that a container of the daemon runs")
    .option("--content", "read the image's files and compare them with their digests (the default)")
    .option("--no-content", "ask the registry only, so that what has been changed here goes unseen")
    .option("--signature", "check the signatures of images in their registries instead; nothing is copied")
    .option(
      "--key <file>",
      "with --signature: a public key that must have signed, or one of several",
      (file: string, others: readonly string[] = []) => [...others, file],
    )
    .option("--certificate-identity <name>", "with --signature: e-mail or URI in the signer's certificate")
    .option("--certificate-oidc-issuer <url>", "with --signature: who has told the authority that name")
    .option("--trusted-root <file>", "with --certificate-identity: trusted_root.json of sigstore's")
    .addHelpText(
      "after",
      "\nexit codes: 0 same, 20 stale, 21 gone, 22 unknown, 23 tampered, 24 not signed as wanted; of several images the gravest",
    )
    .action(
      async (
        names: string[],
        flags: Omit<VerifyFlags, "content"> & SignatureFlags & { content?: boolean },
        command: Command,
      ) => {
        const options = command.optsWithGlobals<GlobalOptions>();
        if (flags.signature) return await verifySignatures(names, flags, options);
        await using store = await openLocalStore(options);
        await using client = registryClient(options);
        const content = flags.content ?? true;
        const images = await imagesToVerify(store, names, { ...flags, content }, options);
        const places = new Semaphore(imagesAtOnce);
        const results = await Promise.all(
          images.map(image => places.run(() => verify(store, client, image, content, options))),
        );
        const rows = results.map(result => [
          result.name,
          result.verdict,
          short(result.localDigest),
          short(result.remoteDigest),
          result.containers.map(shortId).join(",") || "-",
          result.detail,
        ]);
        printRows(
          options.json ?? false,
          results,
          ["image", "verdict", "here", "registry", "containers", "detail"],
          rows,
        );
        const gravest = Math.max(...results.map(result => exitCodes[result.verdict]), 0);
        if (gravest > 0) throw new ExitWith(gravest);
      },
    );
}

async function verify(
  store: Store,
  client: RegistryClient,
  { image, name, containers }: NamedImage,
  content: boolean,
  options: GlobalOptions,
): Promise<Comparison & { readonly containers: readonly string[] }> {
  if (name === undefined)
    return {
      name: image.id,
      imageId: image.id,
      localDigest: image.digest,
      remoteDigest: undefined,
      verdict: "unknown",
      detail: "the image has no name any more, so no registry can be asked",
      containers,
    };
  const result = await compareImage(client, image, name, {
    platform: platformOf(options),
    ...(content ? { verifyContent: () => verifyStoredImage(store, image) } : {}),
  });
  return { ...result, containers };
}

function short(digest: string | undefined): string {
  return digest === undefined ? "-" : shortId(digest);
}
