/** What a registry wants to see before it answers (RFC 9110, 11.6.1; distribution's token specification). */
export interface Challenge {
  /** In lower case: `basic`, `bearer`. */
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Parses WWW-Authenticate, with several challenges in one header too. What cannot be read is left out. */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  const pattern =
    /\s*(?:,\s*)*(?:([A-Za-z][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([A-Za-z][\w-]*)(?=\s|,|$))/gy;
  const text = header.slice(0, 8192);
  for (let match = pattern.exec(text); match; match = pattern.exec(text)) {
    const [, key, quoted, plain, scheme] = match;
    if (scheme !== undefined) challenges.push({ scheme: scheme.toLowerCase(), parameters: {} });
    else if (key !== undefined) {
      const current = challenges.at(-1);
      if (current) current.parameters[key.toLowerCase()] ??= quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "";
    }
  }
  return challenges;
}
