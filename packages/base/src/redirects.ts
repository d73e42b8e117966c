import { type LookupAddress, type LookupOptions, lookup } from "node:dns";
import { BlockList, isIP } from "node:net";
import { OcidError } from "./error.ts";

const linkLocal = new BlockList();
linkLocal.addSubnet("169.254.0.0", 16, "ipv4");
linkLocal.addSubnet("fe80::", 10, "ipv6");

/**
 * Where a redirect leads: to web servers only, and never to the machine's own surroundings, where clouds keep their
 * secrets. `what` names what was being done. FAILED_PRECONDITION (`RedirectRefused`) for anything else.
 */
export function redirectTarget(location: string | undefined, from: URL, what: string): URL {
  if (location === undefined || !URL.canParse(location, from))
    throw new OcidError("FAILED_PRECONDITION", `${what}: ${from.host} redirects to nowhere`, {
      reason: "RedirectRefused",
    });
  const target = new URL(location, from);
  if (!/^https?:$/.test(target.protocol))
    throw new OcidError(
      "FAILED_PRECONDITION",
      `${what}: ${from.host} redirects to ${target.protocol}, which is not followed`,
      { reason: "RedirectRefused" },
    );
  if (isLinkLocal(target.hostname.replace(/^\[|\]$/g, ""))) throw refused(from.host, target.hostname);
  target.username = "";
  target.password = "";
  return target;
}

/** Whether an address is one of the link's own (RFC 3927; RFC 4291, 2.5.6), also written as IPv4 within IPv6. */
export function isLinkLocal(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && linkLocal.check(address, family === 4 ? "ipv4" : "ipv6");
}

/** What `dns.lookup` answers with: one address with its family, or all of them. */
export type LookupCallback = (
  error: Error | null,
  address: string | LookupAddress[],
  family?: number,
) => void;

/** `dns.lookup` for sockets to where a redirect leads: a name must not stand for what the address itself may not. */
export function lookupRedirected(host: string, options: LookupOptions, callback: LookupCallback): void {
  lookup(host, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, "");
    if (addresses.some(({ address }) => isLinkLocal(address)))
      return callback(refused("the server", host), "");
    if (options.all) return callback(null, addresses);
    const [first] = addresses;
    callback(null, first?.address ?? "", first?.family ?? 4);
  });
}

function refused(from: string, to: string): OcidError {
  return new OcidError(
    "FAILED_PRECONDITION",
    `${from} redirects to ${to}, a link-local address, which is not followed`,
    { reason: "RedirectRefused" },
  );
}
