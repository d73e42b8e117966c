import { spawn } from "node:child_process";
import { OcidError, wrapError } from "@ocid/base";
import { parseJsonObject } from "@ocid/spec";
import type { Credential } from "./credentials.ts";

const maxAnswerBytes = 1024 * 1024;

/** Asks `docker-credential-NAME get`; undefined when it has nothing for the registry (docker-credential-helpers' protocol). */
export async function askHelper(helper: string, registry: string): Promise<Credential | undefined> {
  const { code, output, program } = await runHelper(helper, "get", registry);
  if (code !== 0) {
    if (/credentials not found/i.test(output)) return undefined;
    throw failed(program, code);
  }
  const answer = parseJsonObject(Buffer.from(output), `the answer of ${program}`, maxAnswerBytes);
  const { Username: username, Secret: secret } = answer;
  if (typeof username !== "string" || typeof secret !== "string") return undefined;
  return username === "<token>"
    ? { kind: "identityToken", token: secret }
    : { kind: "basic", username, password: secret };
}

/** Hands a credential to a helper to keep. */
export async function storeWithHelper(
  helper: string,
  registry: string,
  credential: Exclude<Credential, { kind: "registryToken" }>,
): Promise<void> {
  const [Username, Secret] =
    credential.kind === "basic" ? [credential.username, credential.password] : ["<token>", credential.token];
  const input = JSON.stringify({ ServerURL: registry, Username, Secret });
  const { code, program } = await runHelper(helper, "store", input);
  if (code !== 0) throw failed(program, code);
}

/** Has a helper forget a registry; returns whether it knew it. */
export async function eraseWithHelper(helper: string, registry: string): Promise<boolean> {
  if ((await askHelper(helper, registry)) === undefined) return false;
  const { code, program } = await runHelper(helper, "erase", registry);
  if (code !== 0) throw failed(program, code);
  return true;
}

/** Secrets pass through pipes only; what a helper says for people is not shown, since it may repeat them. */
function runHelper(
  helper: string,
  verb: "get" | "store" | "erase",
  input: string,
): Promise<{ readonly code: number | null; readonly output: string; readonly program: string }> {
  if (!/^[\w.-]+$/.test(helper))
    throw new OcidError("INVALID_ARGUMENT", `not a credential helper: ${JSON.stringify(helper)}`);
  return new Promise((resolve, reject) => {
    const program = `docker-credential-${helper}`;
    const child = spawn(program, [verb], { stdio: ["pipe", "pipe", "ignore"], timeout: 30_000 });
    let output = "";
    child.stdout.on("data", chunk => {
      output = (output + chunk).slice(0, maxAnswerBytes);
    });
    child.once("error", error =>
      reject(wrapError(`credential helper ${program}`, error, "FAILED_PRECONDITION")),
    );
    child.once("close", code => resolve({ code, output, program }));
    child.stdin.on("error", () => {});
    child.stdin.end(input);
  });
}

function failed(program: string, code: number | null): OcidError {
  return new OcidError("UNAUTHENTICATED", `credential helper ${program} failed with exit code ${code}`);
}
