import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { makeTestImage } from "@ocid/image-copy/testing";
import { startTestRegistry } from "@ocid/registry/testing";
import { node, repository } from "../run.ts";

export interface Warming {
  /** What `main` is run with: DIR is a directory, IMAGE an image in a registry. */
  readonly args: readonly string[];
  /** Options of Node, those of the executable: V8 takes no cache that was made under others. */
  readonly node: readonly string[];
  /** Of a program that serves until it is told to end: what is asked of it once it is ready. */
  readonly ask?: (directory: string, image: string) => Promise<void>;
}

/**
 * What V8 has compiled of each program once `main` was run; the other programs are its worker threads. Functions that
 * were not called are left to be compiled when they are. Where the run fails, as without root's rights, the caches hold
 * less, and starts take longer.
 */
export async function makeCodeCaches(
  programs: Readonly<Record<string, string>>,
  { args, node: options, ask }: Warming,
): Promise<Readonly<Record<string, Uint8Array>>> {
  const directory = mkdtempSync(join(tmpdir(), "ocid-code-cache-"));
  try {
    for (const [name, text] of Object.entries(programs)) {
      writeFileSync(join(directory, `${name}.txt`), text, "latin1");
      writeFileSync(join(directory, `${name}.cjs`), recorder(join(directory, name)));
    }
    await using registry = await startTestRegistry();
    const image = `${registry.host}/${await addImage(registry)}`;
    writeFileSync(
      join(directory, "registries.conf"),
      `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`,
    );
    const words = args.map(word => word.replace("DIR", directory).replace("IMAGE", image));
    await run([...options, join(directory, "main.cjs"), ...words], ask && (() => ask(directory, image)));
    writeFileSync(join(directory, "compile.cjs"), compiler);
    const cacheOf = (name: string) => join(directory, `${name}.cache`);
    const left = Object.keys(programs).filter(name => !existsSync(cacheOf(name)));
    await run([...options, join(directory, "compile.cjs"), ...left]);
    return Object.fromEntries(Object.keys(programs).map(name => [name, readFileSync(cacheOf(name))]));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** One layer that is worth two threads, and one that is not. */
async function addImage(registry: Awaited<ReturnType<typeof startTestRegistry>>): Promise<string> {
  const files = Object.fromEntries(
    Array.from({ length: 400 }, (_, at) => [`usr/lib/d${at % 20}/f${at}`, randomBytes(16 * 1024)]),
  );
  const { manifest, blobs } = await makeTestImage({
    layers: [{ files }, { files: { "etc/motd": "hello\n" } }],
  });
  for (const blob of blobs.values()) registry.addBlob("warm", blob);
  registry.addManifest("warm", manifest.bytes, manifest.descriptor.mediaType, "1");
  return "warm:1";
}

/** Runs the text beside it and writes its cache: at the end, and in a thread whenever it answers. */
const recorder = (path: string): string => `"use strict";
const fs = require("node:fs");
const { Script, constants } = require("node:vm");
const { parentPort } = require("node:worker_threads");
const script = new Script(fs.readFileSync(${JSON.stringify(`${path}.txt`)}, "latin1"), {
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
});
const save = () => fs.writeFileSync(${JSON.stringify(`${path}.cache`)}, script.createCachedData());
process.on("exit", save);
if (parentPort) {
  const post = parentPort.postMessage.bind(parentPort);
  parentPort.postMessage = (message, moved) => {
    save();
    post(message, moved);
  };
}
script.runInThisContext()(require, __filename);
`;

/** Writes the caches of texts that were not run. */
const compiler = `"use strict";
const fs = require("node:fs");
const { join } = require("node:path");
const { Script } = require("node:vm");
for (const name of process.argv.slice(2)) {
  const text = fs.readFileSync(join(__dirname, name + ".txt"), "latin1");
  fs.writeFileSync(join(__dirname, name + ".cache"), new Script(text).createCachedData());
}
`;

/** Runs a program to its end; one that serves is asked something when it says that it is ready, and ended then. */
async function run(args: readonly string[], ask?: () => Promise<void>): Promise<void> {
  const program = args.find(arg => arg.endsWith(".cjs"))!;
  const env = {
    PATH: process.env["PATH"],
    // koffi is found as the package that needs it does.
    NODE_PATH: join(repository, "packages/host/node_modules"),
    CONTAINERS_REGISTRIES_CONF: join(dirname(program), "registries.conf"),
  };
  const child = spawn(node, args, { stdio: ["ignore", "ignore", "pipe"], timeout: 60_000, env });
  let failure: unknown;
  let asked = ask === undefined;
  child.stderr.on("data", (bytes: Buffer) => {
    if (asked || !bytes.includes("message=ready")) return;
    asked = true;
    ask?.()
      .catch(error => {
        failure = error;
      })
      .finally(() => child.kill("SIGTERM"));
  });
  const [code] = await once(child, "exit");
  if (code !== 0 || failure)
    console.error(`the run that fills the code cache of ${args.join(" ")} failed; starts will take longer`);
}
