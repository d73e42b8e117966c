import { isOcidError, OcidError } from "@ocid/base";
import type { Descriptor } from "@ocid/spec";
import type { CallOptions } from "./call-options.ts";
import type { RegistryResponse } from "./endpoint.ts";
import type { Place } from "./places.ts";
import { discard } from "./transport.ts";

/** One upload at a registry: where it lies, and how far it has got (distribution-spec, "Pushing a blob in chunks"). */
export class UploadSession {
  readonly #place: Place;
  readonly #descriptor: Descriptor;
  readonly #options: CallOptions & { readonly what: string };
  #location: URL | undefined;
  #position = 0;
  #minChunkBytes = 0;

  constructor(place: Place, descriptor: Descriptor, options: CallOptions & { readonly what: string }) {
    this.#place = place;
    this.#descriptor = descriptor;
    this.#options = options;
  }

  get location(): string {
    return this.#location?.href ?? "";
  }

  /** Bytes that the registry has. */
  get position(): number {
    return this.#position;
  }

  /** Chunks but the last may not be smaller. */
  get minChunkBytes(): number {
    return this.#minChunkBytes;
  }

  /** Begins an upload; false when there is no need to, because the registry took the blob from `mountFrom`. */
  async start(mountFrom: string | undefined): Promise<boolean> {
    const { repository } = this.#place.reference;
    const query =
      mountFrom === undefined
        ? ""
        : `?mount=${encodeURIComponent(this.#descriptor.digest)}&from=${encodeURIComponent(mountFrom)}`;
    const response = await this.#place.endpoint.send({
      ...this.#common(mountFrom),
      method: "POST",
      path: `/v2/${repository}/blobs/uploads/${query}`,
      headers: { "content-length": "0" },
      expect: [201, 202],
    });
    discard(response);
    if (response.status === 201) return false;
    this.#takeLocation(response);
    const least = Number(response.headers["oci-chunk-min-length"]);
    this.#minChunkBytes = Number.isSafeInteger(least) && least > 0 ? Math.min(least, 1024 ** 3) : 0;
    this.#position = 0;
    return true;
  }

  /** Asks how far an upload has got; false when the registry no longer knows it. */
  async resume(location: string): Promise<boolean> {
    try {
      this.#location = new URL(location, await this.#place.endpoint.base(this.#options.signal));
      const response = await this.#place.endpoint.send({
        ...this.#common(),
        method: "GET",
        path: this.#location.href,
        expect: [204],
      });
      discard(response);
      this.#takeLocation(response, this.#location);
      this.#position = endOf(response.headers["range"]);
      return this.#position <= this.#descriptor.size;
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      if (isOcidError(error) && error.code !== "UNAVAILABLE") return false;
      throw error;
    }
  }

  /** Sends everything in one request. */
  async putAll(body: () => AsyncIterable<Uint8Array>): Promise<void> {
    await this.#put(String(this.#descriptor.size), body);
  }

  async patch(from: number, to: number, body: () => AsyncIterable<Uint8Array>): Promise<void> {
    const response = await this.#place.endpoint.send({
      ...this.#common(),
      method: "PATCH",
      path: this.location,
      headers: {
        "content-type": "application/octet-stream",
        "content-length": String(to - from),
        "content-range": `${from}-${to - 1}`,
      },
      body,
      expect: [202, 204],
      attempts: 1,
    });
    discard(response);
    this.#takeLocation(response);
    this.#position = to;
  }

  /** Says that all chunks are there; the registry compares the digest. */
  async finish(): Promise<void> {
    await this.#put("0");
  }

  async #put(length: string, body?: () => AsyncIterable<Uint8Array>): Promise<void> {
    const target = new URL(this.location);
    target.searchParams.set("digest", this.#descriptor.digest);
    const response = await this.#place.endpoint.send({
      ...this.#common(),
      method: "PUT",
      path: target.href,
      headers: { "content-type": "application/octet-stream", "content-length": length },
      ...(body ? { body } : {}),
      expect: [201, 204],
      attempts: 1,
    });
    discard(response);
  }

  #common(mountFrom?: string) {
    const { repository } = this.#place.reference;
    const actions = ["pull", "push"] as const;
    return { access: { repository, actions, mountFrom }, ...this.#options };
  }

  #takeLocation(response: RegistryResponse, otherwise?: URL): void {
    const location = response.headers["location"];
    if (location !== undefined && URL.canParse(location, response.url)) {
      const url = new URL(location, response.url);
      if (/^https?:$/.test(url.protocol)) {
        this.#location = url;
        return;
      }
    }
    if (otherwise === undefined)
      throw new OcidError("UNAVAILABLE", `${this.#options.what}: the registry names no place to upload to`);
    this.#location = otherwise;
  }
}

/** `0-1023` is 1024 bytes; `0-0` is what registries say of none. */
function endOf(range: string | undefined): number {
  const last = Number(/^(?:bytes=)?0-(\d{1,15})$/.exec(range ?? "")?.[1] ?? 0);
  return last === 0 ? 0 : last + 1;
}
