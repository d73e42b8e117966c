import { OcidError, readCapped } from "@ocid/base";
import { type Credential, fixedCredential, login, logout } from "@ocid/registry";
import type { Command } from "commander";
import { type GlobalOptions, registryClient } from "../global-options.ts";
import { ask } from "../output/ask.ts";
import { print, printError, printResult } from "../output/output.ts";

interface LoginFlags {
  readonly username?: string;
  readonly password?: string;
  readonly passwordStdin?: boolean;
  readonly identityToken?: boolean;
  readonly check: boolean;
}

/** Credentials for registries: login, logout. */
export function addLoginCommands(program: Command): void {
  program
    .command("login <registry>")
    .description(
      "check a user name and password with a registry, and keep them for all commands (and for podman, skopeo …)",
    )
    .option("-u, --username <name>", "user name; asked for where it is missing")
    .option(
      "-p, --password <password>",
      "password; others on this machine can see it: prefer --password-stdin",
    )
    .option("--password-stdin", "read the password from standard input")
    .option("--identity-token", "what is read is an OAuth2 identity token, not a password")
    .option("--no-check", "keep it without asking the registry")
    .action(async (registry: string, flags: LoginFlags, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const name = checkedName(registry);
      const credential = await readCredential(name, flags);
      if (flags.check) {
        await using client = registryClient(options, { credentials: fixedCredential(credential) });
        await client.ping(name.split("/")[0]!);
      }
      const { keptIn } = await login(name, credential, { authFile: options.authfile });
      printResult(
        options.json ?? false,
        { registry: name, keptIn },
        () => `logged in to ${name}, kept in ${keptIn}\n`,
      );
    });
  program
    .command("logout <registry>")
    .description("forget a registry's credentials wherever they are kept")
    .action(async (registry: string, _, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const name = checkedName(registry);
      const removed = await logout(name, { authFile: options.authfile });
      if (removed.length === 0)
        throw new OcidError(
          "NOT_FOUND",
          `there are no credentials for ${name}; ocic login ${name} makes some`,
        );
      for (const place of removed) print(`removed from ${place}\n`);
    });
}

/** A registry, or a path in one, as credentials are kept for it. */
function checkedName(text: string): string {
  const name = text.replace(/^(https?|docker):\/\//, "").replace(/\/+$/, "");
  if (!/^[\w.[\]:-]+(\/[\w.-]+)*$/.test(name))
    throw new OcidError("INVALID_ARGUMENT", `not a registry: ${JSON.stringify(text)}`);
  return name;
}

async function readCredential(name: string, flags: LoginFlags): Promise<Credential> {
  const { identityToken = false, password, passwordStdin = false } = flags;
  if (password !== undefined && passwordStdin)
    throw new OcidError("INVALID_ARGUMENT", "--password and --password-stdin exclude each other");
  if (passwordStdin && flags.username === undefined && !identityToken)
    throw new OcidError("INVALID_ARGUMENT", "--password-stdin needs --username");
  if (password !== undefined)
    printError("ocic: a password on the command line can be seen by others; use --password-stdin");
  const username = identityToken ? "" : (flags.username ?? (await ask(`user name for ${name}: `)));
  const secret = passwordStdin
    ? await readSecret()
    : (password ?? (await ask(identityToken ? "identity token: " : "password: ", { hidden: true })));
  if (secret === "") throw new OcidError("INVALID_ARGUMENT", "the password is empty");
  return identityToken
    ? { kind: "identityToken", token: secret }
    : { kind: "basic", username, password: secret };
}

async function readSecret(): Promise<string> {
  const bytes = await readCapped(process.stdin, 64 * 1024, "the password");
  return Buffer.from(bytes)
    .toString("utf8")
    .replace(/\r?\n$/, "");
}
