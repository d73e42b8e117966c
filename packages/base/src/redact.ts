const userInfo = /([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']+@/gi;
const query = /([a-z][a-z0-9+.-]*:\/\/[^\s?#"']+)\?[^\s"']*/gi;
const header =
  /\b(authorization|proxy-authorization|x-registry-auth)(["']?\s*[:=]\s*["']?)(?:(?:basic|bearer)\s+)?[^\s"',;]+/gi;
const scheme = /\b(basic|bearer)\s+[a-z0-9+/_.~-]{8,}=*/gi;
const field =
  /(["']?\b(?:password|passwd|identity_?token|refresh_?token|access_?token|registry_?token|secret)["']?\s*[:=]\s*)(?:"[^"]*"|'[^']*'|[^\s,;&}]+)/gi;

/** Cuts credentials out of a text for people: user info and queries of URLs, authorization headers, token fields. */
export function redact(text: string): string {
  return text
    .replace(userInfo, "$1")
    .replace(query, "$1?…")
    .replace(header, "$1$2…")
    .replace(scheme, "$1 …")
    .replace(field, "$1…");
}
