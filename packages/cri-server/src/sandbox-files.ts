import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import type { DNSConfig, PodSandboxConfig } from "@ocid/cri-api";

/** Files that a pod's containers share, by their place in the container. */
export function sandboxFiles(directory: string): Readonly<Record<string, string>> {
  return {
    "/etc/hosts": join(directory, "hosts"),
    "/etc/hostname": join(directory, "hostname"),
    "/etc/resolv.conf": join(directory, "resolv.conf"),
  };
}

export function podHostname(config: PodSandboxConfig, hostNetwork: boolean): string {
  const name =
    hostNetwork || config.hostname === ""
      ? hostNetwork
        ? hostname()
        : (config.metadata?.name ?? "")
      : config.hostname;
  const short = name.slice(0, 63).replace(/[-.]+$/, "");
  if (!/^[a-zA-Z0-9]([a-zA-Z0-9.-]*)$/.test(short))
    throw new OcidError("INVALID_ARGUMENT", `not a host name: ${JSON.stringify(name.slice(0, 100))}`);
  return short;
}

export function writeSandboxFiles(
  directory: string,
  config: PodSandboxConfig,
  host: string,
  ips: readonly string[],
  hostNetwork: boolean,
): void {
  const files = sandboxFiles(directory);
  const own = `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${ips.map(ip => `${ip}\t${host}\n`).join("")}`;
  writeFileSync(
    files["/etc/hosts"]!,
    hostNetwork && existsSync("/etc/hosts") ? readFileSync("/etc/hosts") : own,
    { mode: 0o644 },
  );
  writeFileSync(files["/etc/hostname"]!, `${host}\n`, { mode: 0o644 });
  writeFileSync(files["/etc/resolv.conf"]!, resolvConf(config.dnsConfig), { mode: 0o644 });
}

/** Without a DNS configuration the node's own counts. */
function resolvConf(dns: DNSConfig | undefined): string {
  if (!dns || dns.servers.length + dns.searches.length + dns.options.length === 0)
    return existsSync("/etc/resolv.conf") ? readFileSync("/etc/resolv.conf", "utf8") : "";
  for (const item of [...dns.servers, ...dns.searches, ...dns.options])
    if (/[\s\0]/.test(item))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `DNS configuration has an entry with a space in it: ${JSON.stringify(item.slice(0, 100))}`,
      );
  const lines = [
    ...(dns.searches.length > 0 ? [`search ${dns.searches.join(" ")}`] : []),
    ...dns.servers.map(server => `nameserver ${server}`),
    ...(dns.options.length > 0 ? [`options ${dns.options.join(" ")}`] : []),
  ];
  return `${lines.join("\n")}\n`;
}
