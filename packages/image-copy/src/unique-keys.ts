import { OcidError } from "@ocid/base";

/** Fails with INVALID_ARGUMENT when an object of a JSON text has a key twice; of two rules, which counts must not be a matter of the parser. */
export function checkUniqueKeys(text: string, what: string): void {
  const open: Set<string>[] = [];
  const token = /"(?:[^"\\]|\\.)*"|[{}[\]]/g;
  for (let match = token.exec(text); match; match = token.exec(text)) {
    const [found] = match;
    if (found === "{" || found === "[") open.push(new Set());
    else if (found === "}" || found === "]") open.pop();
    else if (isKey(text, token.lastIndex)) {
      const key = JSON.parse(found) as string;
      if (open.at(-1)?.has(key))
        throw new OcidError(
          "INVALID_ARGUMENT",
          `${what} has the key ${JSON.stringify(key)} twice in one object`,
        );
      open.at(-1)?.add(key);
    }
  }
}

/** Whether a string that ended here is followed by a colon. */
function isKey(text: string, from: number): boolean {
  let at = from;
  while (" \t\r\n".includes(text[at] ?? "x")) at++;
  return text[at] === ":";
}
