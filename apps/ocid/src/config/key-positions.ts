import type { AST } from "toml-eslint-parser";

/** Lines, from 1, of the tables and keys of a TOML text by their full names, such as `runtimes.crun.path`. */
export type KeyLines = ReadonlyMap<string, number>;

/**
 * Finds where keys stand. Only needed to tell people about them, so the parser that keeps positions (the other one does
 * not) is loaded only then.
 */
export async function keyLines(text: string): Promise<KeyLines> {
  const { parseTOML } = await import("toml-eslint-parser");
  const lines = new Map<string, number>();
  const note = (name: readonly (string | number)[], node: AST.TOMLNode) => {
    const key = name.join(".");
    if (!lines.has(key)) lines.set(key, node.loc.start.line);
  };
  const keyValues = (entries: readonly AST.TOMLKeyValue[], above: readonly (string | number)[]) => {
    for (const entry of entries) {
      let name = above;
      for (const key of entry.key.keys) {
        name = [...name, key.type === "TOMLBare" ? key.name : key.value];
        note(name, entry);
      }
      if (entry.value.type === "TOMLInlineTable") keyValues(entry.value.body, name);
    }
  };
  for (const node of parseTOML(text).body[0].body) {
    if (node.type === "TOMLKeyValue") keyValues([node], []);
    else {
      for (let length = 1; length <= node.resolvedKey.length; length++)
        note(node.resolvedKey.slice(0, length), node);
      keyValues(node.body, node.resolvedKey);
    }
  }
  return lines;
}
