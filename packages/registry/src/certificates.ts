import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import type { TlsOptions } from "@ocid/spec";

/** Where certificates of registries are looked for; the first directory that has one for a registry is the only one used. */
export function usualCertificateDirectories(
  env: Readonly<Record<string, string | undefined>> = process.env,
): readonly string[] {
  return [
    join(env["HOME"] || homedir(), ".config/containers/certs.d"),
    "/etc/containers/certs.d",
    "/etc/docker/certs.d",
  ];
}

/** TLS material for a registry (containers-certs.d(5)): `*.crt` are authorities, `X.cert` with `X.key` identifies us. */
export function loadCertificates(registry: string, directories: readonly string[]): TlsOptions {
  const directory = directories.map(path => join(path, registry)).find(path => existsSync(path));
  return directory === undefined ? {} : readCertificates(directory);
}

/** TLS material in one directory. */
export function readCertificates(directory: string): TlsOptions {
  const names = readdirSync(directory).sort();
  const read = (name: string) => {
    try {
      return readFileSync(join(directory, name), "utf8");
    } catch (error) {
      throw wrapError(`read the certificate ${join(directory, name)}`, error);
    }
  };
  const authorities = names.filter(name => name.endsWith(".crt")).map(read);
  const client = names.find(name => name.endsWith(".cert"))?.replace(/\.cert$/, "");
  const key = names.find(name => name.endsWith(".key"))?.replace(/\.key$/, "");
  for (const [have, want] of [
    [client, "key"],
    [key, "cert"],
  ] as const) {
    if (have !== undefined && !names.includes(`${have}.${want}`))
      throw new OcidError(
        "FAILED_PRECONDITION",
        `${directory} has half of a client certificate: ${have}.${want} is missing`,
      );
  }
  return {
    ...(authorities.length > 0 ? { ca: [...rootCertificates(), ...authorities] } : {}),
    ...(client === undefined ? {} : { cert: read(`${client}.cert`), key: read(`${client}.key`) }),
  };
}

/** Asked for here only: `node:tls` reads all of them anew at each start, which costs more than what else a command loads. */
function rootCertificates(): readonly string[] {
  return process.getBuiltinModule("node:tls").rootCertificates;
}
