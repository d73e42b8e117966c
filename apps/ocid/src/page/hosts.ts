import { isIP } from "node:net";

/**
 * Whether a Host header names this node by an address, as localhost or by its own name. A page of somebody else, whose
 * name was made to lead here (DNS rebinding), has another one. Any port: it may be forwarded.
 */
export function isOwnHost(header: string | undefined, nodeName: string): boolean {
  const [, bracketed, name = ""] = /^(?:\[([^\]]+)\]|([^:]+))(?::\d{1,5})?$/.exec(header ?? "") ?? [];
  if (bracketed !== undefined) return isIP(bracketed) === 6;
  const host = name.toLowerCase();
  return isIP(host) === 4 || host === "localhost" || host === nodeName.toLowerCase();
}
