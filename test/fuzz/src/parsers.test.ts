import { expect, test } from "vitest";
import { documentParsers } from "./document-parsers.ts";
import { runParser } from "./run-parser.ts";
import { streamParsers } from "./stream-parsers.ts";

const parsers = [...documentParsers, ...streamParsers];

// A sample; `npm run fuzz` runs as many cases as there is time for.
test.each(parsers)("$name parses or refuses whatever comes", { timeout: 60_000 }, async parser => {
  let cases = 0;
  await runParser(parser, { cases: 300, onCase: () => cases++ });
  expect(cases).toBeGreaterThanOrEqual(300);
});
