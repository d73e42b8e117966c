import { type Logger, silentLogger } from "@ocid/base";
import {
  type BlobSource,
  type Descriptor,
  type Digest,
  parseManifest,
  type Reference,
  referenceName,
} from "@ocid/spec";
import type { CallOptions } from "./call-options.ts";
import { usualCertificateDirectories } from "./certificates.ts";
import { anonymous, type CredentialSource } from "./credentials.ts";
import { type DeleteOptions, deleteManifest } from "./delete-manifest.ts";
import type { Timeouts } from "./endpoint.ts";
import { type FetchedManifest, fetchManifest, putManifest, resolveManifest } from "./manifests.ts";
import { type OpenBlobOptions, openBlob } from "./open-blob.ts";
import { Places } from "./places.ts";
import { type OpenFrom, type PushBlobOptions, pushBlob } from "./push-blob.ts";
import { describeReferrer, listReferrers, noteReferrer } from "./referrers.ts";
import { emptyRegistriesConf, type RegistriesConf } from "./registries-conf.ts";
import { type ListTagsOptions, listTags, tagsOf } from "./tags.ts";
import { discard } from "./transport.ts";

export interface RegistryClientOptions {
  /** Default: none. */
  readonly credentials?: CredentialSource | undefined;
  /** Mirrors, rewriting, blocked and insecure registries. Default: none. */
  readonly registriesConf?: RegistriesConf | undefined;
  /** False accepts plain HTTP and any certificate from every registry. Default true. */
  readonly tlsVerify?: boolean | undefined;
  /** Default: the directories that the other containers tools read. */
  readonly certificateDirectories?: readonly string[] | undefined;
  /** One directory with certificates for every registry, instead. */
  readonly certificateDirectory?: string | undefined;
  readonly userAgent?: string | undefined;
  readonly timeouts?: Partial<Timeouts> | undefined;
  readonly logger?: Logger | undefined;
}

/** A client of registries; connections are kept until it is disposed of. */
export function createRegistryClient(options: RegistryClientOptions = {}): RegistryClient {
  return new RegistryClient(options);
}

/** Speaks the OCI distribution-spec (v1.1) with any number of registries. */
export class RegistryClient implements AsyncDisposable {
  readonly #places: Places;

  /** @internal */
  constructor(options: RegistryClientOptions) {
    this.#places = new Places({
      credentials: options.credentials ?? anonymous,
      registriesConf: options.registriesConf ?? emptyRegistriesConf,
      tlsVerify: options.tlsVerify ?? true,
      certificateDirectories: options.certificateDirectories ?? usualCertificateDirectories(),
      certificateDirectory: options.certificateDirectory,
      userAgent: options.userAgent ?? "ocid",
      logger: options.logger ?? silentLogger,
      timeouts: { idleMs: 60_000, slowMs: 30_000, ...options.timeouts },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#places[Symbol.asyncDispose]();
  }

  /**
   * Asks whether the registry is there and lets us in ("Determining Support"). UNAUTHENTICATED when it does not take the
   * credentials.
   */
  async ping(registry: string, options: CallOptions = {}): Promise<void> {
    const response = await this.#places.registry(registry).send({
      method: "GET",
      path: "/v2/",
      access: { repository: "", actions: [] },
      expect: [200],
      what: `ask ${registry}`,
      signal: options.signal,
    });
    discard(response);
  }

  /** Descriptor of what a reference points at, without fetching it where the registry answers HEAD. NOT_FOUND when there is nothing. */
  async resolve(reference: Reference, options: CallOptions = {}): Promise<Descriptor> {
    return await this.#places.fromAny(reference, place => resolveManifest(place, options));
  }

  /** Fetches and verifies a manifest or index; at most 4 MiB. */
  async fetchManifest(reference: Reference, options: CallOptions = {}): Promise<FetchedManifest> {
    return await this.#places.fromAny(reference, place => fetchManifest(place, options));
  }

  /**
   * A blob's bytes, verified: size as they come, digest at the end. A connection that breaks is taken up where it
   * stopped; large blobs come over several connections where the registry sends ranges.
   */
  openBlob(
    reference: Reference,
    descriptor: Descriptor,
    options: OpenBlobOptions = {},
  ): AsyncIterable<Uint8Array> {
    return openBlob(this.#places.ofBlobs(reference), descriptor, options);
  }

  /** Where a blob can be fetched, as a value that a worker thread can use. The bytes are the user's to verify. */
  async blobSource(
    reference: Reference,
    descriptor: Descriptor,
    options: CallOptions = {},
  ): Promise<BlobSource> {
    const [place] = this.#places.ofBlobs(reference);
    const { endpoint } = place!;
    const { repository } = place!.reference;
    const access = { repository, actions: ["pull"] as const };
    const path = `/v2/${repository}/blobs/${descriptor.digest}`;
    const { url, headers, tls, proxy } = await endpoint.plainRequest(path, access, options.signal);
    return {
      kind: "http",
      url: url.href,
      headers,
      tls,
      ...(proxy === undefined ? {} : { proxy }),
      renew: challenge => endpoint.renew(challenge, access),
    };
  }

  async hasBlob(reference: Reference, digest: Digest, options: CallOptions = {}): Promise<boolean> {
    const { repository } = reference;
    const response = await this.#places.destination(reference).endpoint.send({
      method: "HEAD",
      path: `/v2/${repository}/blobs/${digest}`,
      access: { repository, actions: ["pull", "push"] },
      expect: [200, 404],
      what: `look for ${digest} in ${referenceName(reference)}`,
      byDigest: true,
      signal: options.signal,
    });
    discard(response);
    return response.status === 200;
  }

  /**
   * Uploads a blob in one request or in chunks, or has the registry take it over from another of its repositories.
   * Returns whether bytes were sent. What breaks is gone on from where the registry says.
   */
  async pushBlob(
    reference: Reference,
    descriptor: Descriptor,
    open: OpenFrom,
    options: PushBlobOptions = {},
  ): Promise<{ readonly sent: boolean }> {
    return await pushBlob(this.#places.destination(reference), descriptor, open, options);
  }

  /**
   * Uploads a manifest under the reference's tag, or its digest. One that has a subject is then among its referrers,
   * also where the registry keeps no list of them.
   */
  async pushManifest(
    reference: Reference,
    bytes: Uint8Array,
    mediaType: string,
    options: CallOptions = {},
  ): Promise<Descriptor> {
    const place = this.#places.destination(reference);
    const parsed = parseManifest(bytes, mediaType);
    const { descriptor, subjectKnown } = await putManifest(place, bytes, mediaType, options);
    const { subject } = parsed.kind === "image" ? parsed.manifest : parsed.index;
    if (subject && !subjectKnown)
      await noteReferrer(place, subject.digest, describeReferrer(descriptor, bytes), options);
    return descriptor;
  }

  /** All tags of a repository, page by page ("Listing Tags"). */
  listTags(reference: Reference, options: ListTagsOptions = {}): AsyncGenerator<string, void, undefined> {
    return listTags(this.#places.primary(reference), options);
  }

  /** Which tags of the repository point at a manifest: one HEAD request for each of its tags. */
  async tagsOf(reference: Reference, digest: Digest, options: CallOptions = {}): Promise<readonly string[]> {
    return await tagsOf(this.#places.primary(reference), digest, options);
  }

  /**
   * Deletes what the reference names: its digest where it has one, else its tag alone, never another one's. With a digest
   * that tags point at it fails with FAILED_PRECONDITION (`TagsWouldGo`) and names them, unless `withTags` is set.
   */
  async deleteManifest(reference: Reference, options: DeleteOptions = {}): Promise<void> {
    await deleteManifest(this.#places.destination(reference), options);
  }

  /** What refers to a manifest: signatures, SBOMs, attestations ("Listing Referrers", with its tag schema as fallback). */
  async referrers(
    reference: Reference & { readonly digest: Digest },
    options: CallOptions & { readonly artifactType?: string | undefined } = {},
  ): Promise<readonly Descriptor[]> {
    return await listReferrers(this.#places.primary(reference), reference.digest, options);
  }
}
