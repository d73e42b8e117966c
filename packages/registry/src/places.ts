import { type Logger, OcidError } from "@ocid/base";
import { formatReference, type Reference, referenceName } from "@ocid/spec";
import { loadCertificates, readCertificates } from "./certificates.ts";
import type { CredentialSource } from "./credentials.ts";
import { Endpoint, type Timeouts } from "./endpoint.ts";
import { isInsecure, type Location, pullLocations } from "./locations.ts";
import type { RegistriesConf } from "./registries-conf.ts";

export interface PlacesOptions {
  readonly credentials: CredentialSource;
  readonly registriesConf: RegistriesConf;
  readonly tlsVerify: boolean;
  readonly certificateDirectories: readonly string[];
  readonly certificateDirectory: string | undefined;
  readonly userAgent: string;
  readonly logger: Logger;
  readonly timeouts: Timeouts;
}

/** Where something is really asked for: a registry, and what the reference is called there. */
export interface Place {
  readonly endpoint: Endpoint;
  readonly reference: Reference;
}

/** The registries that a client talks to, each with one endpoint, and which of them serves what. */
export class Places implements AsyncDisposable {
  readonly #options: PlacesOptions;
  readonly #endpoints = new Map<string, Endpoint>();
  /** Which of a reference's locations has answered, so that blobs come from where their manifest did. */
  readonly #answered = new Map<string, Location>();

  constructor(options: PlacesOptions) {
    this.#options = options;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#endpoints.values()].map(endpoint => endpoint[Symbol.asyncDispose]()));
    this.#endpoints.clear();
  }

  /** The registry itself, for requests about all of it. */
  registry(registry: string): Endpoint {
    return this.#endpoint(registry, isInsecure(this.#options.registriesConf, { registry, repository: "x" }));
  }

  /** For what only the registry itself can say: tags, referrers. Mirrors are not asked. */
  primary(reference: Reference): Place {
    return this.#place(this.#locations(reference).at(-1)!);
  }

  /** For what is written: registries.conf rewrites pulls only. */
  destination(reference: Reference): Place {
    return {
      reference,
      endpoint: this.#endpoint(reference.registry, isInsecure(this.#options.registriesConf, reference)),
    };
  }

  /** Where a reference's blobs are: first where its manifest came from, then everywhere else. */
  ofBlobs(reference: Reference): readonly Place[] {
    const locations = this.#locations(reference);
    const answered = this.#answered.get(referenceName(reference));
    const first = locations.find(location => sameName(location, answered)) ?? locations.at(-1)!;
    return [first, ...locations.filter(location => location !== first)].map(location =>
      this.#place(location),
    );
  }

  /** Asks the mirrors in their order, then the registry, until one has an answer. */
  async fromAny<T>(reference: Reference, work: (place: Place) => Promise<T>): Promise<T> {
    const failures: unknown[] = [];
    for (const location of this.#locations(reference)) {
      try {
        const result = await work(this.#place(location));
        this.#answered.set(referenceName(reference), location);
        return result;
      } catch (error) {
        if (!location.isMirror) throw failures.length === 0 ? error : mirrorsFailed(error, failures);
        this.#options.logger.warn("a mirror does not have the image", {
          image: formatReference(reference),
          mirror: location.reference.registry,
          error: (error as Error).message,
        });
        failures.push(error);
      }
    }
    throw failures[0];
  }

  #locations(reference: Reference): readonly Location[] {
    return pullLocations(this.#options.registriesConf, reference);
  }

  #place(location: Location): Place {
    const { reference, insecure } = location;
    return { reference, endpoint: this.#endpoint(reference.registry, insecure) };
  }

  #endpoint(registry: string, declaredInsecure: boolean): Endpoint {
    const { tlsVerify, credentials, certificateDirectories, certificateDirectory, userAgent, timeouts } =
      this.#options;
    const insecure = declaredInsecure || !tlsVerify;
    const key = `${registry} ${insecure}`;
    let endpoint = this.#endpoints.get(key);
    if (!endpoint) {
      endpoint = new Endpoint({
        registry,
        insecure,
        tls:
          certificateDirectory === undefined
            ? loadCertificates(registry, certificateDirectories)
            : readCertificates(certificateDirectory),
        userAgent,
        findCredential: name => credentials.find(name),
        timeouts,
      });
      this.#endpoints.set(key, endpoint);
    }
    return endpoint;
  }
}

function sameName(location: Location, other: Location | undefined): boolean {
  return other !== undefined && referenceName(location.reference) === referenceName(other.reference);
}

function mirrorsFailed(error: unknown, failures: readonly unknown[]): OcidError {
  const last = error as OcidError;
  return new OcidError(
    last.code ?? "UNAVAILABLE",
    `${last.message}; mirrors before it: ${failures.map(failure => (failure as Error).message).join("; ")}`,
    { cause: error, reason: last.reason },
  );
}
