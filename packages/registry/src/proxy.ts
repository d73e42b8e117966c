import { BlockList, isIP } from "node:net";

/**
 * The forward proxy for a URL by the usual environment variables, lower case before upper case: HTTPS_PROXY, HTTP_PROXY
 * (not in CGI programs), NO_PROXY with names, domains, addresses, networks (`10.0.0.0/8`) and `*`. Loopback is never proxied.
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
    if (item.includes("/") && isInNetwork(host, item)) return undefined;
    const [name = "", port] = item.replace(/^\*?\./, "").split(":");
    if (
      item === "*" ||
      ((host === name || host.endsWith(`.${name}`)) && (port === undefined || port === url.port))
    )
      return undefined;
  }
  // In CGI programs HTTP_PROXY is a header that a client has sent.
  const isCgi = env["REQUEST_METHOD"] !== undefined;
  const proxy =
    url.protocol === "https:"
      ? value("https_proxy")
      : isCgi
        ? env["http_proxy"] || undefined
        : value("http_proxy");
  return proxy === undefined || proxy.includes("://") ? proxy : `http://${proxy}`;
}

function isInNetwork(host: string, network: string): boolean {
  const [address = "", prefix = ""] = network.split("/");
  const family = isIP(host);
  const bits = Number(prefix);
  const most = family === 4 ? 32 : 128;
  if (family === 0 || isIP(address) !== family || !/^\d+$/.test(prefix) || bits > most) return false;
  const list = new BlockList();
  const type = family === 4 ? "ipv4" : "ipv6";
  list.addSubnet(address, bits, type);
  return list.check(host, type);
}
