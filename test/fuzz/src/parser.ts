import type { Arbitrary } from "fast-check";

/** What reads input from outside. It parses, or throws an OcidError; `parse` itself throws where it lets something escape. */
export interface Parser<Input = unknown> {
  readonly name: string;
  readonly input: Arbitrary<Input>;
  parse(input: Input): unknown;
  /** Whether INTERNAL is what it says of bad input (of a plugin, whose fault it is), rather than a mistake of its own. */
  readonly internal?: boolean;
}

export function parser<Input>(of: Parser<Input>): Parser {
  return of as Parser;
}

/** Fails a case: what was parsed leaves its place. */
export function escapes(what: string, value: unknown): never {
  throw new Error(`${what} escapes: ${JSON.stringify(value)}`);
}
