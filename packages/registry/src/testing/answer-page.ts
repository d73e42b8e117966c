import { type Descriptor, mediaTypes } from "@ocid/spec";
import type { Call } from "./call.ts";
import type { TestRegistryOptions } from "./test-registry.ts";

/** One page of a list, and where the next one is. */
export function answerPage(
  { response, url, repositoryName }: Call,
  options: TestRegistryOptions,
  key: "tags" | "manifests",
  all: readonly unknown[],
): void {
  const size = Math.min(Number(url.searchParams.get("n") ?? 1000), options.pageSize ?? 1000);
  const last = url.searchParams.get("last");
  const names = all.map(item => (typeof item === "string" ? item : (item as Descriptor).digest));
  const from = last === null ? 0 : names.indexOf(last) + 1;
  if (from + size < all.length) {
    url.searchParams.set("last", names[from + size - 1]!);
    response.setHeader("link", `<${url.pathname}${url.search}>; rel="next"`);
  }
  response.setHeader("content-type", key === "tags" ? "application/json" : mediaTypes.ociIndex);
  const page = { [key]: all.slice(from, from + size) };
  response.end(
    JSON.stringify(key === "tags" ? { name: repositoryName, ...page } : { schemaVersion: 2, ...page }),
  );
}
