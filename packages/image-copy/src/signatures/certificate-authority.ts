import type { X509Certificate } from "node:crypto";
import { OcidError } from "@ocid/base";
import { X509Certificate as SigstoreCertificate } from "@sigstore/core";
import type { TrustMaterial } from "@sigstore/verify";

/** Whom a certificate must name; what is undefined may be anybody. */
export interface SignerIdentity {
  /** One of the certificate's e-mail addresses. */
  readonly email?: string | undefined;
  /** One of its host names; a wildcard in the certificate counts. */
  readonly hostname?: string | undefined;
  /** An e-mail address or a URI, as Fulcio names people and build systems. */
  readonly subject?: string | undefined;
  /** Who has told Fulcio who it is: the URL of an OpenID Connect issuer. */
  readonly issuer?: string | undefined;
}

const codeSigning = "1.3.6.1.5.5.7.3.3";
const anyUsage = "2.5.29.37.0";
const nameConstraints = "2.5.29.30";

type Authority = TrustMaterial["certificateAuthorities"][number];

/**
 * An authority for the verifier out of trusted roots, and of those intermediates, trusted or not, that a trusted
 * certificate has signed: the verifier takes every certificate that it is given here for trusted.
 */
export function certificateAuthority(
  roots: readonly X509Certificate[],
  intermediates: readonly X509Certificate[],
): Authority {
  const admitted = roots.filter(isUnconstrained);
  let rest = intermediates.filter(certificate => certificate.ca && isUnconstrained(certificate));
  for (let found = true; found; ) {
    const signed = rest.filter(certificate => admitted.some(issuer => isIssuedBy(certificate, issuer)));
    found = signed.length > 0;
    admitted.push(...signed);
    rest = rest.filter(certificate => !signed.includes(certificate));
  }
  return {
    certChain: admitted.map(({ raw }) => SigstoreCertificate.parse(raw)),
    validFor: { start: new Date(0), end: new Date(8.64e15) },
  };
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

/** The verifier knows no constraints on names, so an authority that has some is not used. */
function isUnconstrained(certificate: X509Certificate): boolean {
  return SigstoreCertificate.parse(certificate.raw).extension(nameConstraints) === undefined;
}

/** Fails with PERMISSION_DENIED unless the certificate is for signing and names whom it must. */
export function checkSigner(certificate: X509Certificate, identity: SignerIdentity): void {
  const { email, hostname, subject } = identity;
  // Node calls by this name what the certificate's extended key usage lists.
  const usage = certificate.keyUsage as readonly string[] | undefined;
  if (usage !== undefined && !usage.includes(codeSigning) && !usage.includes(anyUsage))
    throw denied("the certificate is not for signing code");
  const names = certificate.subjectAltName ?? "nobody";
  if (email !== undefined && !hasEmail(certificate, email))
    throw denied(`the certificate is for ${names}, not for ${email}`);
  if (hostname !== undefined && certificate.checkHost(hostname, { subject: "never" }) === undefined)
    throw denied(`the certificate is for ${names}, not for ${hostname}`);
  if (subject !== undefined && !hasEmail(certificate, subject) && uriOf(certificate) !== subject)
    throw denied(`the certificate is for ${names}, not for ${subject}`);
}

function hasEmail(certificate: X509Certificate, email: string): boolean {
  return email.includes("@") && certificate.checkEmail(email, { subject: "never" }) !== undefined;
}

function uriOf(certificate: X509Certificate): string | undefined {
  return SigstoreCertificate.parse(certificate.raw).extSubjectAltName?.uri;
}

function denied(why: string): OcidError {
  return new OcidError("PERMISSION_DENIED", why);
}
