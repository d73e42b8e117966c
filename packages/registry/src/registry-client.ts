import { Readable } from "node:stream";
import { type Logger, OcidError, readCapped, silentLogger } from "@ocid/base";
import {
  type BlobSource,
  type Descriptor,
  type Digest,
  digestAlgorithm,
  digestBytes,
  formatReference,
  manifestAccept,
  maxManifestBytes,
  mediaTypes,
  parseDescriptor,
  parseDigest,
  parseJsonObject,
  parseManifest,
  type Reference,
  referenceName,
  verifyStream,
} from "@ocid/spec";
import type { Action } from "./authorizer.ts";
import { loadCertificates, usualCertificateDirectories } from "./certificates.ts";
import { anonymous, type CredentialSource } from "./credentials.ts";
import { Endpoint, type RegistryResponse } from "./endpoint.ts";
import { isInsecure, type Location, pullLocations } from "./locations.ts";
import { emptyRegistriesConf, type RegistriesConf } from "./registries-conf.ts";

export interface RegistryClientOptions {
  readonly credentials?: CredentialSource | undefined;
  /** Mirrors, rewriting, blocked and insecure registries. Default: none. */
  readonly registriesConf?: RegistriesConf | undefined;
  /** False accepts plain HTTP and any certificate from every registry. Default true. */
  readonly tlsVerify?: boolean | undefined;
  /** Default: the directories that the other containers tools read. */
  readonly certificateDirectories?: readonly string[] | undefined;
  readonly userAgent?: string | undefined;
  readonly logger?: Logger | undefined;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface FetchedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

const pull: readonly Action[] = ["pull"];
const push: readonly Action[] = ["pull", "push"];

/** A client of registries; connections are kept until it is disposed of. */
export function createRegistryClient(options: RegistryClientOptions = {}): RegistryClient {
  return new RegistryClient(options);
}

/** Speaks the OCI distribution-spec (v1.1) with any number of registries. */
export class RegistryClient implements AsyncDisposable {
  readonly #options: RegistryClientOptions;
  readonly #conf: RegistriesConf;
  readonly #logger: Logger;
  readonly #endpoints = new Map<string, Endpoint>();
  /** Which of a reference's locations has answered, so that blobs come from where their manifest did. */
  readonly #answered = new Map<string, Location>();

  /** @internal */
  constructor(options: RegistryClientOptions) {
    this.#options = options;
    this.#conf = options.registriesConf ?? emptyRegistriesConf;
    this.#logger = options.logger ?? silentLogger;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#endpoints.values()].map(endpoint => endpoint[Symbol.asyncDispose]()));
    this.#endpoints.clear();
  }

  /** Asks whether the registry is there and lets us in ("Determining Support"). */
  async ping(registry: string, options: CallOptions = {}): Promise<void> {
    const endpoint = this.#endpoint(
      registry,
      this.#options.tlsVerify === false || isInsecure(this.#conf, { registry, repository: "x" }),
    );
    const response = await endpoint.send({
      method: "GET",
      path: "/v2/",
      repository: "",
      actions: [],
      expect: [200],
      what: `ask ${registry}`,
      signal: options.signal,
    });
    response.body.destroy();
  }

  /** Descriptor of what a reference points at, without fetching it where the registry answers HEAD. NOT_FOUND when there is nothing. */
  async resolve(reference: Reference, options: CallOptions = {}): Promise<Descriptor> {
    return await this.#fromAnyLocation(reference, async (location, endpoint) => {
      const response = await endpoint.send({
        ...this.#manifestRequest(location.reference, options),
        method: "HEAD",
        expect: [200],
      });
      response.body.destroy();
      const length = Number(response.headers["content-length"]);
      const mediaType = contentType(response);
      const stated = response.headers["docker-content-digest"];
      if (stated === undefined || mediaType === undefined || !(length > 0))
        return (await this.#getManifest(location, endpoint, options)).descriptor;
      const digest = parseDigest(stated);
      if (reference.digest !== undefined && digest !== reference.digest)
        throw new OcidError(
          "DATA_LOSS",
          `${formatReference(reference)}: the registry points at ${digest} instead`,
          { reason: "DigestMismatch" },
        );
      return { mediaType, digest, size: length };
    });
  }

  /** Fetches and verifies a manifest or index; at most 4 MiB. */
  async fetchManifest(reference: Reference, options: CallOptions = {}): Promise<FetchedManifest> {
    return await this.#fromAnyLocation(reference, (location, endpoint) =>
      this.#getManifest(location, endpoint, options),
    );
  }

  /** A blob's bytes, verified: size as they come, digest at the end. */
  openBlob(
    reference: Reference,
    descriptor: Descriptor,
    options: CallOptions & { readonly offset?: number } = {},
  ): AsyncIterable<Uint8Array> {
    const offset = options.offset ?? 0;
    const bytes = this.#readBlob(reference, descriptor, offset, options.signal);
    return offset === 0 ? verifyStream(bytes, descriptor) : bytes;
  }

  /** Where a blob can be fetched, as a value that a worker thread can use. The bytes are the user's to verify. */
  async blobSource(
    reference: Reference,
    descriptor: Descriptor,
    options: CallOptions = {},
  ): Promise<BlobSource> {
    const { location, endpoint } = this.#chosen(reference);
    const { repository } = location.reference;
    const request = await endpoint.plainRequest(
      `/v2/${repository}/blobs/${descriptor.digest}`,
      repository,
      pull,
      options.signal,
    );
    return {
      kind: "http",
      url: request.url.href,
      headers: request.headers,
      tls: request.tls,
      ...(request.proxy === undefined ? {} : { proxy: request.proxy }),
      renew: challenge => endpoint.renew(challenge, repository, pull),
    };
  }

  async hasBlob(reference: Reference, digest: Digest, options: CallOptions = {}): Promise<boolean> {
    const endpoint = this.#pushEndpoint(reference);
    const { repository } = reference;
    const response = await endpoint.send({
      method: "HEAD",
      path: `/v2/${repository}/blobs/${digest}`,
      repository,
      actions: push,
      expect: [200, 404],
      what: `look for ${digest} in ${referenceName(reference)}`,
      signal: options.signal,
    });
    response.body.destroy();
    return response.status === 200;
  }

  /**
   * Uploads a blob in one request, or has the registry take it over from another of its repositories. Returns whether
   * bytes were sent. `open` is called once for each try.
   */
  async pushBlob(
    reference: Reference,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    options: CallOptions & { readonly mountFrom?: string | undefined } = {},
  ): Promise<{ readonly sent: boolean }> {
    const endpoint = this.#pushEndpoint(reference);
    const { repository } = reference;
    const what = `push ${descriptor.digest} to ${referenceName(reference)}`;
    const common = { repository, actions: push, what, signal: options.signal };
    const query =
      options.mountFrom === undefined
        ? ""
        : `?mount=${encodeURIComponent(descriptor.digest)}&from=${encodeURIComponent(options.mountFrom)}`;
    const start = await endpoint.send({
      ...common,
      method: "POST",
      path: `/v2/${repository}/blobs/uploads/${query}`,
      headers: { "content-length": "0" },
      expect: [201, 202],
    });
    start.body.destroy();
    if (start.status === 201) return { sent: false };
    const upload = uploadUrl(start, what);
    upload.searchParams.set("digest", descriptor.digest);
    const done = await endpoint.send({
      ...common,
      method: "PUT",
      path: upload.href,
      headers: { "content-type": "application/octet-stream", "content-length": String(descriptor.size) },
      body: () => Readable.from(verifyStream(open(), descriptor), { objectMode: false }),
      expect: [201, 204],
    });
    done.body.destroy();
    return { sent: true };
  }

  /** Uploads a manifest under the reference's tag, or its digest. */
  async pushManifest(
    reference: Reference,
    bytes: Uint8Array,
    mediaType: string,
    options: CallOptions = {},
  ): Promise<Descriptor> {
    const endpoint = this.#pushEndpoint(reference);
    const { repository } = reference;
    const digest = digestBytes(
      bytes,
      reference.digest === undefined ? "sha256" : digestAlgorithm(reference.digest),
    );
    const name = reference.tag ?? reference.digest ?? digest;
    const response = await endpoint.send({
      method: "PUT",
      path: `/v2/${repository}/manifests/${name}`,
      repository,
      actions: push,
      headers: { "content-type": mediaType, "content-length": String(bytes.byteLength) },
      body: () => bytes,
      expect: [201, 202],
      what: `push manifest ${formatReference(reference)}`,
      signal: options.signal,
    });
    response.body.destroy();
    return { mediaType, digest, size: bytes.byteLength };
  }

  /** All tags of a repository, page by page ("Listing Tags"). */
  async *listTags(reference: Reference, options: CallOptions = {}): AsyncGenerator<string, void, undefined> {
    const endpoint = this.#pullEndpoint(reference);
    const { repository } = reference;
    let path: string | undefined = `/v2/${repository}/tags/list?n=1000`;
    for (const seen = new Set<string>(); path !== undefined && !seen.has(path); ) {
      seen.add(path);
      const response: RegistryResponse = await endpoint.send({
        method: "GET",
        path,
        repository,
        actions: pull,
        expect: [200],
        what: `list tags of ${referenceName(reference)}`,
        signal: options.signal,
      });
      const page = parseJsonObject(
        await readCapped(response.body, 8 * maxManifestBytes, "the list of tags"),
        "the list of tags",
        8 * maxManifestBytes,
      );
      for (const tag of Array.isArray(page["tags"]) ? page["tags"] : [])
        if (typeof tag === "string") yield tag;
      path = nextPage(response);
    }
  }

  /** Removes what the reference's digest, or its tag, points at: with a digest, every tag that points there goes too. */
  async deleteManifest(reference: Reference, options: CallOptions = {}): Promise<void> {
    const endpoint = this.#pushEndpoint(reference);
    const { repository } = reference;
    const response = await endpoint.send({
      method: "DELETE",
      path: `/v2/${repository}/manifests/${reference.digest ?? reference.tag}`,
      repository,
      actions: ["pull", "push", "delete"],
      expect: [200, 202],
      what: `delete ${formatReference(reference)}`,
      signal: options.signal,
    });
    response.body.destroy();
  }

  /** What refers to a manifest: signatures, SBOMs, attestations ("Listing Referrers", with its tag schema as fallback). */
  async referrers(
    reference: Reference & { readonly digest: Digest },
    options: CallOptions & { readonly artifactType?: string } = {},
  ): Promise<readonly Descriptor[]> {
    const endpoint = this.#pullEndpoint(reference);
    const { repository, digest } = reference;
    const query =
      options.artifactType === undefined ? "" : `?artifactType=${encodeURIComponent(options.artifactType)}`;
    const response = await endpoint.send({
      method: "GET",
      path: `/v2/${repository}/referrers/${digest}${query}`,
      repository,
      actions: pull,
      headers: { accept: mediaTypes.ociIndex },
      expect: [200, 404],
      what: `list referrers of ${formatReference(reference)}`,
      signal: options.signal,
    });
    let found: readonly Descriptor[];
    if (response.status === 200) {
      const page = parseJsonObject(
        await readCapped(response.body, maxManifestBytes, "the list of referrers"),
        "the list of referrers",
      );
      found = (Array.isArray(page["manifests"]) ? page["manifests"] : []).map(item =>
        parseDescriptor(item, "referrer"),
      );
    } else {
      response.body.destroy();
      found = await this.#referrersByTag(reference, options);
    }
    return options.artifactType === undefined
      ? found
      : found.filter(descriptor => descriptor.artifactType === options.artifactType);
  }

  async #referrersByTag(
    reference: Reference & { readonly digest: Digest },
    options: CallOptions,
  ): Promise<readonly Descriptor[]> {
    const tag = reference.digest.replace(":", "-");
    try {
      const { bytes } = await this.fetchManifest(
        { registry: reference.registry, repository: reference.repository, tag },
        options,
      );
      const parsed = parseManifest(bytes);
      return parsed.kind === "index" ? parsed.index.manifests : [];
    } catch (error) {
      if ((error as OcidError).code === "NOT_FOUND") return [];
      throw error;
    }
  }

  async #fromAnyLocation<T>(
    reference: Reference,
    work: (location: Location, endpoint: Endpoint) => Promise<T>,
  ): Promise<T> {
    const failures: unknown[] = [];
    for (const location of pullLocations(this.#conf, reference)) {
      try {
        const result = await work(location, this.#endpointOf(location));
        this.#answered.set(referenceName(reference), location);
        return result;
      } catch (error) {
        if (!location.isMirror) throw failures.length === 0 ? error : mirrorsFailed(error, failures);
        this.#logger.warn("a mirror does not have the image", {
          image: formatReference(reference),
          mirror: location.reference.registry,
          error: (error as Error).message,
        });
        failures.push(error);
      }
    }
    throw failures[0];
  }

  async #getManifest(location: Location, endpoint: Endpoint, options: CallOptions): Promise<FetchedManifest> {
    const { reference } = location;
    const response = await endpoint.send({
      ...this.#manifestRequest(reference, options),
      method: "GET",
      expect: [200],
    });
    const bytes = await readCapped(
      response.body,
      maxManifestBytes,
      `the manifest of ${formatReference(reference)}`,
    );
    const digest = digestBytes(
      bytes,
      reference.digest === undefined ? "sha256" : digestAlgorithm(reference.digest),
    );
    if (reference.digest !== undefined && digest !== reference.digest)
      throw new OcidError(
        "DATA_LOSS",
        `${formatReference(reference)}: expected a manifest with this digest, received ${digest}`,
        { reason: "DigestMismatch" },
      );
    const stated = response.headers["docker-content-digest"];
    if (reference.digest === undefined && stated?.startsWith("sha256:") && stated !== digest)
      throw new OcidError(
        "DATA_LOSS",
        `${formatReference(reference)}: the registry promised ${stated}, but sent ${digest}`,
        { reason: "DigestMismatch" },
      );
    const { mediaType } = parseManifest(bytes, contentType(response));
    return { descriptor: { mediaType, digest, size: bytes.byteLength }, bytes };
  }

  #manifestRequest(reference: Reference, options: CallOptions) {
    const { repository } = reference;
    return {
      path: `/v2/${repository}/manifests/${reference.digest ?? reference.tag ?? "latest"}`,
      repository,
      actions: pull,
      headers: { accept: manifestAccept },
      what: `fetch ${formatReference(reference)}`,
      signal: options.signal,
    };
  }

  async *#readBlob(
    reference: Reference,
    descriptor: Descriptor,
    offset: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { location, endpoint } = this.#chosen(reference);
    const { repository } = location.reference;
    const response = await endpoint.send({
      method: "GET",
      path: `/v2/${repository}/blobs/${descriptor.digest}`,
      repository,
      actions: pull,
      headers: offset > 0 ? { range: `bytes=${offset}-` } : {},
      expect: [200, 206],
      what: `fetch ${descriptor.digest} of ${referenceName(reference)}`,
      signal,
    });
    let skip = response.status === 200 ? offset : 0;
    try {
      for await (const chunk of response.body) {
        if (skip < chunk.byteLength) yield chunk.subarray(skip);
        skip = Math.max(0, skip - chunk.byteLength);
      }
    } finally {
      response.body.on("error", () => {});
      response.body.destroy();
    }
  }

  #chosen(reference: Reference): { readonly location: Location; readonly endpoint: Endpoint } {
    const location =
      this.#answered.get(referenceName(reference)) ?? pullLocations(this.#conf, reference).at(-1)!;
    return { location, endpoint: this.#endpointOf(location) };
  }

  #pullEndpoint(reference: Reference): Endpoint {
    return this.#endpointOf(pullLocations(this.#conf, reference).at(-1)!);
  }

  #pushEndpoint(reference: Reference): Endpoint {
    return this.#endpoint(
      reference.registry,
      this.#options.tlsVerify === false || isInsecure(this.#conf, reference),
    );
  }

  #endpointOf(location: Location): Endpoint {
    return this.#endpoint(
      location.reference.registry,
      location.insecure || this.#options.tlsVerify === false,
    );
  }

  #endpoint(registry: string, insecure: boolean): Endpoint {
    const key = `${registry} ${insecure}`;
    let endpoint = this.#endpoints.get(key);
    if (!endpoint) {
      const credentials = this.#options.credentials ?? anonymous;
      endpoint = new Endpoint({
        registry,
        insecure,
        tls: loadCertificates(
          registry,
          this.#options.certificateDirectories ?? usualCertificateDirectories(),
        ),
        userAgent: this.#options.userAgent ?? "ocid",
        findCredential: name => credentials.find(name),
      });
      this.#endpoints.set(key, endpoint);
    }
    return endpoint;
  }
}

function contentType(response: RegistryResponse): string | undefined {
  return response.headers["content-type"]?.split(";")[0]?.trim() || undefined;
}

function uploadUrl(response: RegistryResponse, what: string): URL {
  const location = response.headers["location"];
  if (location === undefined || !URL.canParse(location, response.url))
    throw new OcidError("UNAVAILABLE", `${what}: the registry names no place to upload to`);
  return new URL(location, response.url);
}

function nextPage(response: RegistryResponse): string | undefined {
  const link = /<([^>]+)>\s*;\s*rel="?next"?/i.exec(response.headers["link"] ?? "")?.[1];
  if (link === undefined || !URL.canParse(link, response.url)) return undefined;
  const url = new URL(link, response.url);
  return url.origin === response.url.origin ? `${url.pathname}${url.search}` : undefined;
}

function mirrorsFailed(error: unknown, failures: readonly unknown[]): OcidError {
  const last = error as OcidError;
  return new OcidError(
    last.code ?? "UNAVAILABLE",
    `${last.message}; mirrors before it: ${failures.map(failure => (failure as Error).message).join("; ")}`,
    { cause: error, reason: last.reason },
  );
}
