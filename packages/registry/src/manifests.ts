import { OcidError } from "@ocid/base";
import {
  type Descriptor,
  digestAlgorithm,
  digestBytes,
  formatReference,
  manifestAccept,
  maxManifestBytes,
  parseDigest,
  parseManifest,
  type Reference,
} from "@ocid/spec";
import type { Action } from "./authorizer.ts";
import type { CallOptions } from "./call-options.ts";
import type { RegistryResponse } from "./endpoint.ts";
import type { Place } from "./places.ts";
import { discard } from "./transport.ts";

export interface FetchedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

const pull: readonly Action[] = ["pull"];

/** What a reference points at, by HEAD; by GET where the registry leaves something out (distribution-spec, "Pulling manifests"). */
export async function resolveManifest(place: Place, options: CallOptions): Promise<Descriptor> {
  const { reference, endpoint } = place;
  const response = await endpoint.send({ ...request(reference, options), method: "HEAD", expect: [200] });
  discard(response);
  const length = Number(response.headers["content-length"]);
  const mediaType = contentType(response);
  const stated = response.headers["docker-content-digest"];
  if (stated === undefined || mediaType === undefined || !(length > 0))
    return (await fetchManifest(place, options)).descriptor;
  const digest = parseDigest(stated);
  if (reference.digest !== undefined && digest !== reference.digest)
    throw new OcidError(
      "DATA_LOSS",
      `${formatReference(reference)}: the registry points at ${digest} instead`,
      { reason: "DigestMismatch" },
    );
  return { mediaType, digest, size: length };
}

export async function fetchManifest(place: Place, options: CallOptions): Promise<FetchedManifest> {
  const { reference, endpoint } = place;
  const name = formatReference(reference);
  const response = await endpoint.send({ ...request(reference, options), method: "GET", expect: [200] });
  const bytes = await endpoint.readAnswer(response, maxManifestBytes, `the manifest of ${name}`);
  const digest = digestBytes(
    bytes,
    reference.digest === undefined ? "sha256" : digestAlgorithm(reference.digest),
  );
  if (reference.digest !== undefined && digest !== reference.digest)
    throw new OcidError("DATA_LOSS", `${name}: expected a manifest with this digest, received ${digest}`, {
      reason: "DigestMismatch",
    });
  const stated = response.headers["docker-content-digest"];
  if (reference.digest === undefined && stated?.startsWith("sha256:") && stated !== digest)
    throw new OcidError("DATA_LOSS", `${name}: the registry promised ${stated}, but sent ${digest}`, {
      reason: "DigestMismatch",
    });
  const { mediaType } = parseManifest(bytes, contentType(response));
  return { descriptor: { mediaType, digest, size: bytes.byteLength }, bytes };
}

/** Uploads a manifest; says whether the registry lists referrers by itself (distribution-spec, "Pushing Manifests with Subject"). */
export async function putManifest(
  { reference, endpoint }: Place,
  bytes: Uint8Array,
  mediaType: string,
  options: CallOptions,
): Promise<{ readonly descriptor: Descriptor; readonly subjectKnown: boolean }> {
  const { repository } = reference;
  const digest = digestBytes(
    bytes,
    reference.digest === undefined ? "sha256" : digestAlgorithm(reference.digest),
  );
  const response = await endpoint.send({
    method: "PUT",
    path: `/v2/${repository}/manifests/${reference.tag ?? reference.digest ?? digest}`,
    access: { repository, actions: ["pull", "push"] },
    headers: { "content-type": mediaType, "content-length": String(bytes.byteLength) },
    body: () => bytes,
    expect: [201, 202],
    what: `push manifest ${formatReference(reference)}`,
    signal: options.signal,
  });
  discard(response);
  return {
    descriptor: { mediaType, digest, size: bytes.byteLength },
    subjectKnown: response.headers["oci-subject"] !== undefined,
  };
}

function request(reference: Reference, options: CallOptions) {
  const { repository } = reference;
  return {
    path: `/v2/${repository}/manifests/${reference.digest ?? reference.tag ?? "latest"}`,
    access: { repository, actions: pull },
    headers: { accept: manifestAccept },
    what: `fetch ${formatReference(reference)}`,
    byDigest: reference.digest !== undefined,
    signal: options.signal,
  };
}

function contentType(response: RegistryResponse): string | undefined {
  return response.headers["content-type"]?.split(";")[0]?.trim() || undefined;
}
