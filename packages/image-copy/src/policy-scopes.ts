import { resolve, sep } from "node:path";
import { formatReference, parseReference, type Reference, referenceName } from "@ocid/spec";
import type { PolicyIdentity } from "./image-source.ts";

/** How a policy knows an image in a registry: tag or digest, repository, the namespaces above, `*.` domains. */
export function registryIdentity(reference: Reference): PolicyIdentity {
  const name = referenceName(reference);
  const exact = formatReference(
    reference.digest === undefined
      ? reference
      : { registry: reference.registry, repository: reference.repository, digest: reference.digest },
  );
  return { transport: "docker", reference: exact, scopes: [exact, ...namespaces(name)] };
}

/** How a policy knows an image in a file or directory: the path with its tag, the path, the directories above but `/`. */
export function pathIdentity(transport: string, path: string, tag?: string): PolicyIdentity {
  const absolute = resolve(path);
  const scopes = tag === undefined ? [absolute] : [`${absolute}:${tag}`, absolute];
  for (let end = absolute.lastIndexOf(sep); end > 0; end = absolute.lastIndexOf(sep, end - 1))
    scopes.push(absolute.slice(0, end));
  return { transport, scopes };
}

/** How a policy knows an image in local storage: `[overlay@root]name:tag@id` and up to `[overlay@root]` and `[root]`. */
export function storageIdentity(
  root: string | undefined,
  names: readonly string[],
  id: string,
): PolicyIdentity {
  const [name] = names;
  const within =
    name === undefined ? [`@${id}`] : [`${name}@${id}`, ...registryIdentity(parseReference(name)).scopes];
  const store = root === undefined ? "" : `[overlay@${root}]`;
  const scopes = [
    ...within.filter(scope => !scope.startsWith("*.")).map(scope => `${store}${scope}`),
    ...(root === undefined ? [] : [store, `[${root}]`]),
  ];
  return { transport: "containers-storage", scopes, ...(name === undefined ? {} : { reference: name }) };
}

/** `host:5000/a/b` → itself, `host:5000/a`, `host:5000`, then `*.` and each domain above the host. */
export function namespaces(name: string): readonly string[] {
  const scopes = [name];
  for (let end = name.lastIndexOf("/"); end > 0; end = name.lastIndexOf("/", end - 1))
    scopes.push(name.slice(0, end));
  const host = scopes.at(-1)!.replace(/:\d+$/, "");
  for (let dot = host.indexOf("."); dot !== -1; dot = host.indexOf(".", dot + 1))
    scopes.push(`*${host.slice(dot)}`);
  return scopes;
}
