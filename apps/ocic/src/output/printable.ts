/** A text from outside for a terminal: what could steer it is spelt out, `\x1b` for example. */
export function printable(text: string): string {
  return text.replace(
    /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    character => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
