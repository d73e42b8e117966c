import { OcidError } from "@ocid/base";

/** What a template is given, and what its expressions are. */
export type TemplateValue = string | number | boolean | readonly string[] | TemplateFields;

export interface TemplateFields {
  readonly [field: string]: string | readonly string[];
}

type Expression = readonly string[];

type Node =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "output"; readonly expression: Expression }
  | {
      readonly kind: "if" | "range";
      readonly expression: Expression;
      /** Of a range: index and element, or element alone. */
      readonly variables: readonly string[];
      readonly body: readonly Node[];
      readonly otherwise: readonly Node[];
    };

/**
 * Fills a template of Go's text/template, as far as templates of network configurations go: fields, `$` and variables,
 * `range` (also `$i, $x :=`), `if`, `else`, `else if`, `end`, `index`, `len`, `eq`, `not`, literals, comments and the
 * trimming of space (`{{-`, `-}}`). Anything else is INVALID_ARGUMENT with its line.
 */
export function fillTemplate(text: string, fields: TemplateFields): string {
  const parser = new Parser(text);
  const nodes = parser.body([]);
  return render(nodes, { root: fields, dot: fields, variables: new Map() });
}

interface Token {
  readonly text: string;
  readonly action: Expression | undefined;
  readonly line: number;
}

function tokenize(text: string): readonly Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let trimNext = false;
  const push = (raw: string, trimEnd: boolean) => {
    const start = trimNext ? raw.trimStart() : raw;
    tokens.push({ text: trimEnd ? start.trimEnd() : start, action: undefined, line: 0 });
  };
  for (const match of text.matchAll(/\{\{(- )?((?:"(?:[^"\\\n]|\\.)*"|[^"])*?)( -)?\}\}/g)) {
    const [whole, before, inner = "", after] = match;
    push(text.slice(at, match.index), before !== undefined);
    trimNext = after !== undefined;
    at = match.index + whole.length;
    const line = text.slice(0, match.index).split("\n").length;
    if (/^\s*\/\*[\s\S]*\*\/\s*$/.test(inner)) continue;
    const words = inner.match(/"(?:[^"\\]|\\.)*"|:=|,|[^\s,]+/g) ?? [];
    tokens.push({ text: "", action: words, line });
  }
  const rest = text.slice(at);
  if (rest.includes("{{")) throw invalid(text.split("\n").length, "an action is not closed");
  push(rest, false);
  return tokens;
}

class Parser {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(text: string) {
    this.#tokens = tokenize(text);
  }

  /** Nodes up to one of the words, which is left to be taken; up to the end where there are none. */
  body(until: readonly string[]): readonly Node[] {
    const nodes: Node[] = [];
    for (; this.#at < this.#tokens.length; this.#at++) {
      const { text, action, line } = this.#tokens[this.#at]!;
      if (action === undefined) {
        nodes.push({ kind: "text", text });
        continue;
      }
      const [word, ...rest] = action;
      if (word === "end" || word === "else") {
        if (until.includes(word)) return nodes;
        throw invalid(line, `${word} belongs to nothing`);
      }
      if (word === "if" || word === "range") nodes.push(this.#block(word, rest, line));
      else nodes.push({ kind: "output", expression: checked(action, line) });
    }
    if (until.length > 0) throw invalid(this.#tokens.length, "an if or range has no end");
    return nodes;
  }

  #block(kind: "if" | "range", words: Expression, line: number): Node {
    const assigned = words.indexOf(":=");
    const variables = kind === "range" && assigned > 0 ? words.slice(0, assigned) : [];
    const names = variables.filter(name => name !== ",");
    if (names.length > 2 || names.some(name => !/^\$\w+$/.test(name)))
      throw invalid(line, `not variables of a range: ${variables.join(" ")}`);
    const expression = checked(variables.length > 0 ? words.slice(assigned + 1) : words, line);
    this.#at++;
    const body = this.body(["else", "end"]);
    const [word, ...rest] = this.#tokens[this.#at]!.action!;
    if (word === "end") return { kind, expression, variables: names, body, otherwise: [] };
    if (rest[0] === "if") {
      // Its end is the whole block's.
      const inner = this.#block("if", rest.slice(1), this.#tokens[this.#at]!.line);
      return { kind, expression, variables: names, body, otherwise: [inner] };
    }
    this.#at++;
    return { kind, expression, variables: names, body, otherwise: this.body(["end"]) };
  }
}

const functions = { index: 2, len: 1, eq: 2, not: 1 } as const;

function checked(expression: Expression, line: number): Expression {
  const [first = "", ...rest] = expression;
  const isCall = Object.hasOwn(functions, first);
  const operands = isCall ? rest : expression;
  const wanted = isCall ? functions[first as keyof typeof functions] : 1;
  const unknown = operands.find(word => !isOperand(word));
  if (operands.length !== wanted || unknown !== undefined)
    throw invalid(line, `not understood: {{${expression.join(" ").slice(0, 100)}}}`);
  return expression;
}

function isOperand(word: string): boolean {
  if (!word.startsWith('"')) return /^(\.\w*|\$\w*|\d+|true|false)$/.test(word);
  try {
    return typeof JSON.parse(word) === "string";
  } catch {
    return false;
  }
}

interface Scope {
  readonly root: TemplateFields;
  readonly dot: TemplateValue;
  readonly variables: ReadonlyMap<string, TemplateValue>;
}

function render(nodes: readonly Node[], scope: Scope): string {
  return nodes
    .map(node => {
      if (node.kind === "text") return node.text;
      const value = evaluate(node.expression, scope);
      if (node.kind === "output") return Array.isArray(value) ? `[${value.join(" ")}]` : String(value);
      if (node.kind === "if") return render(isTrue(value) ? node.body : node.otherwise, scope);
      if (!Array.isArray(value))
        throw new OcidError("INVALID_ARGUMENT", `a range is over a list, not ${node.expression.join(" ")}`);
      if (value.length === 0) return render(node.otherwise, scope);
      return value
        .map((item: string, at) => render(node.body, inner(scope, node.variables, item, at)))
        .join("");
    })
    .join("");
}

function inner(scope: Scope, names: readonly string[], item: string, at: number): Scope {
  const values = names.length === 2 ? [at, item] : [item];
  const set = names.map((name, position) => [name, values[position]!] as const);
  return { ...scope, dot: item, variables: new Map([...scope.variables, ...set]) };
}

function evaluate(expression: Expression, scope: Scope): TemplateValue {
  const [first = "", ...rest] = expression;
  if (!Object.hasOwn(functions, first)) return operand(first, scope);
  const [a, b] = rest.map(word => operand(word, scope)) as [TemplateValue, TemplateValue];
  switch (first as keyof typeof functions) {
    case "eq":
      return a === b;
    case "not":
      return !isTrue(a);
    case "len":
      return Array.isArray(a) || typeof a === "string" ? a.length : Object.keys(a).length;
    case "index": {
      const item = Array.isArray(a) ? a[Number(b)] : undefined;
      if (item === undefined)
        throw new OcidError("INVALID_ARGUMENT", `there is nothing at ${expression.join(" ")}`);
      return item;
    }
  }
}

function operand(word: string, scope: Scope): TemplateValue {
  if (word === ".") return scope.dot;
  if (word === "$") return scope.root;
  if (word === "true" || word === "false") return word === "true";
  if (/^\d/.test(word)) return Number(word);
  if (word.startsWith('"')) return JSON.parse(word) as string;
  const value = word.startsWith("$")
    ? scope.variables.get(word)
    : typeof scope.dot === "object" && Object.hasOwn(scope.dot, word.slice(1)) && !Array.isArray(scope.dot)
      ? (scope.dot as TemplateFields)[word.slice(1)]
      : undefined;
  if (value === undefined) throw new OcidError("INVALID_ARGUMENT", `a template has no ${word} here`);
  return value;
}

function isTrue(value: TemplateValue): boolean {
  return Array.isArray(value) ? value.length > 0 : Boolean(value);
}

function invalid(line: number, what: string): OcidError {
  return new OcidError("INVALID_ARGUMENT", `line ${line}: ${what}`);
}
