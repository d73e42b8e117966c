import { OcidError } from "@ocid/base";
import fc from "fast-check";
import type { Parser } from "./parser.ts";

/** A case that takes longer than this on its own is a hang, in milliseconds. */
const maxCaseMs = 5_000;

export interface RunOptions {
  readonly cases: number;
  readonly seed?: number;
  /** Called before each case. */
  readonly onCase?: () => void;
}

/** Feeds a parser; throws with the smallest input it found that is neither parsed nor refused as it should be. */
export async function runParser(parser: Parser, { cases, seed, onCase }: RunOptions): Promise<void> {
  const property = fc.asyncProperty(parser.input, async input => {
    onCase?.();
    const start = performance.now();
    try {
      await parser.parse(input);
    } catch (error) {
      if (!(error instanceof OcidError)) throw error;
      if (error.code === "INTERNAL" && !parser.internal) throw error;
    }
    if (performance.now() - start > maxCaseMs) throw new Error(`takes longer than ${maxCaseMs} ms`);
  });
  await fc.assert(property, { numRuns: cases, ...(seed === undefined ? {} : { seed }), endOnFailure: false });
}
