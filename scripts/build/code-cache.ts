import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeTestImage } from "@ocid/image-copy/testing";
import { startTestRegistry } from "@ocid/registry/testing";
import { node, repository } from "../run.ts";

/**
 * What V8 has compiled of each program once `main` was run; the other programs are its worker threads. Functions that
 * were not called are left to be compiled when they are. Where the run fails, as without root's rights, the caches hold
 * less, and starts take longer. Options of Node are those of the executable: V8 takes no cache that was made under
 * others. In `args`, DIR is a directory and IMAGE an image in a registry.
 */
export async function makeCodeCaches(
  programs: Readonly<Record<string, string>>,
  args: readonly string[],
  nodeOptions: readonly string[],
): Promise<Readonly<Record<string, Uint8Array>>> {
  const directory = mkdtempSync(join(tmpdir(), "ocid-code-cache-"));
  try {
    for (const [name, text] of Object.entries(programs)) {
      writeFileSync(join(directory, `${name}.txt`), text, "latin1");
      writeFileSync(join(directory, `${name}.cjs`), recorder(join(directory, name)));
    }
    await using registry = await startTestRegistry();
    const image = await addImage(registry);
    const words = args.map(word =>
      word.replace("DIR", directory).replace("IMAGE", `${registry.host}/${image}`),
    );
    await runToEnd(join(directory, "main.cjs"), words, nodeOptions);
    writeFileSync(join(directory, "compile.cjs"), compiler);
    const cacheOf = (name: string) => join(directory, `${name}.cache`);
    const left = Object.keys(programs).filter(name => !existsSync(cacheOf(name)));
    await runToEnd(join(directory, "compile.cjs"), left, nodeOptions);
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

/** koffi is found as the package that needs it does. */
const env = { PATH: process.env["PATH"], NODE_PATH: join(repository, "packages/host/node_modules") };

function runToEnd(program: string, args: readonly string[], options: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(node, [...options, program, ...args], { stdio: "ignore", timeout: 60_000, env });
    child.once("error", reject);
    child.once("exit", code => {
      if (code !== 0)
        console.error(
          `the run that fills the code cache of ${args.join(" ")} failed; starts will take longer`,
        );
      resolve();
    });
  });
}
