import { OcidError } from "@ocid/base";
import { maxManifestBytes, parseJsonObject } from "@ocid/spec";
import type { RegistryRequest, RegistryResponse } from "./endpoint.ts";
import type { Place } from "./places.ts";
import { discard } from "./transport.ts";

const maxPageBytes = 8 * maxManifestBytes;
const maxPages = 10_000;

/**
 * The pages of a list, each fetched when it is wanted; the registry names the next one (RFC 8288, rel="next"). Undefined
 * in place of a page with a status other than 200.
 */
export async function* readPages(
  { endpoint }: Place,
  request: Omit<RegistryRequest, "method" | "attempts" | "body">,
): AsyncGenerator<Record<string, unknown> | undefined, void, undefined> {
  const seen = new Set<string>();
  for (let path: string | undefined = request.path; path !== undefined; ) {
    if (seen.has(path)) throw endless(request.what, "goes in circles");
    if (seen.size >= maxPages) throw endless(request.what, `has more than ${maxPages} pages`);
    seen.add(path);
    const response: RegistryResponse = await endpoint.send({ ...request, path, method: "GET" });
    if (response.status !== 200) {
      discard(response);
      yield undefined;
      return;
    }
    path = nextPage(response);
    const what = `the answer to "${request.what}"`;
    yield parseJsonObject(await endpoint.readAnswer(response, maxPageBytes, what), what, maxPageBytes);
  }
}

/** Only a page of the same registry: the request carries credentials. */
function nextPage(response: RegistryResponse): string | undefined {
  const link = /<([^>]+)>\s*;\s*rel="?next"?/i.exec(response.headers["link"] ?? "")?.[1];
  if (link === undefined || !URL.canParse(link, response.url)) return undefined;
  const url = new URL(link, response.url);
  return url.origin === response.url.origin ? `${url.pathname}${url.search}` : undefined;
}

function endless(what: string, how: string): OcidError {
  return new OcidError("RESOURCE_EXHAUSTED", `${what}: the registry's list ${how}`, {
    reason: "EndlessList",
  });
}
