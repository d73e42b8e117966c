import { workerData } from "node:worker_threads";
import { documentParsers } from "./document-parsers.ts";
import { runParser } from "./run-parser.ts";
import { streamParsers } from "./stream-parsers.ts";

// Runs one parser in a thread of its own, so that a case without end can be stopped; `done` counts the cases.

const { name, cases, seed, done } = workerData as {
  readonly name: string;
  readonly cases: number;
  readonly seed: number;
  readonly done: Int32Array;
};
const parser = [...documentParsers, ...streamParsers].find(candidate => candidate.name === name)!;
await runParser(parser, { cases, seed, onCase: () => Atomics.add(done, 0, 1) });
