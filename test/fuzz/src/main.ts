import { once } from "node:events";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { documentParsers } from "./document-parsers.ts";
import { streamParsers } from "./stream-parsers.ts";

// npm run fuzz -- [--cases 1000000] [--seed N] [PARSER…]: feeds parsers hostile input and says what each did.

/** A parser that finishes no case for so long hangs, in milliseconds. */
const patienceMs = 30_000;

/** Returns what is wrong; undefined when all cases passed. */
async function runInThread(name: string, cases: number, seed: number): Promise<string | undefined> {
  const done = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL("./worker.ts", import.meta.url), {
    workerData: { name, cases, seed, done },
  });
  let hung = false;
  let before = -1;
  const watchdog = setInterval(() => {
    const now = Atomics.load(done, 0);
    // Cases are counted as they begin: until the first one the programs are loaded.
    hung = now > 0 && now === before;
    if (hung) void worker.terminate();
    before = now;
  }, patienceMs);
  const start = performance.now();
  const failure = once(worker, "error").then(([error]) => (error as Error).message);
  const end = once(worker, "exit").then(() => undefined);
  const wrong = await Promise.race([failure, end]);
  clearInterval(watchdog);
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  console.log(`${name}: ${Atomics.load(done, 0)} cases in ${seconds} s, seed ${seed}`);
  if (hung) return `case ${Atomics.load(done, 0)} does not end`;
  if (wrong === undefined && Atomics.load(done, 0) < cases) return "ended early";
  return wrong;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { cases: { type: "string", default: "1000000" }, seed: { type: "string" } },
});
const names = [...documentParsers, ...streamParsers].map(({ name }) => name);
const unknown = positionals.filter(name => !names.includes(name));
if (unknown.length > 0 || !/^[1-9]\d*$/.test(values.cases) || !/^\d*$/.test(values.seed ?? "")) {
  console.error(`usage: npm run fuzz -- [--cases N] [--seed N] [${names.join(" | ")}]`);
  process.exit(2);
}
for (const name of positionals.length > 0 ? positionals : names) {
  const seed = Number(values.seed ?? Date.now() % 2 ** 31);
  const wrong = await runInThread(name, Number(values.cases), seed);
  if (wrong === undefined) continue;
  console.error(`${name}: ${wrong}`);
  process.exitCode = 1;
}
