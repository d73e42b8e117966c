/**
 * The forward proxy for a URL by the usual environment variables, lower case before upper case: HTTPS_PROXY, HTTP_PROXY
 * (not in CGI programs), NO_PROXY with names, domains, addresses and `*`. Loopback is never proxied.
 */
export function proxyFor(
  url: URL,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string | undefined {
  const value = (name: string) => env[name.toLowerCase()] || env[name.toUpperCase()] || undefined;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (host === "localhost" || host === "::1" || /^127\./.test(host)) return undefined;
  const excluded = (value("no_proxy") ?? "")
    .split(",")
    .map(item => item.trim())
    .filter(Boolean);
  for (const item of excluded) {
    const [name = "", port] = item.replace(/^\*?\./, "").split(":");
    if (
      item === "*" ||
      ((host === name || host.endsWith(`.${name}`)) && (port === undefined || port === url.port))
    )
      return undefined;
  }
  const proxy = value(url.protocol === "https:" ? "https_proxy" : "http_proxy");
  return proxy === undefined || proxy.includes("://") ? proxy : `http://${proxy}`;
}
