import { X509Certificate } from "node:crypto";
import { OcidError, wrapError } from "@ocid/base";

const maxCertificates = 64;
const block = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The certificates of a PEM file, in their order; none for an empty one. */
export function parseCertificates(pem: Uint8Array): readonly X509Certificate[] {
  const blocks = Buffer.from(pem).toString("latin1").match(block) ?? [];
  if (blocks.length > maxCertificates)
    throw new OcidError("RESOURCE_EXHAUSTED", `there are more than ${maxCertificates} certificates`);
  try {
    return blocks.map(text => new X509Certificate(text));
  } catch (error) {
    throw wrapError("read a certificate", error, "INVALID_ARGUMENT");
  }
}
