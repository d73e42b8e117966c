import { createHash, createPrivateKey, createPublicKey, type KeyObject, scrypt } from "node:crypto";
import { promisify } from "node:util";
import { xsalsa20poly1305 } from "@noble/ciphers/salsa.js";
import { OcidError, wrapError } from "@ocid/base";
import { Fields, parseJsonObject } from "@ocid/spec";

const deriveKey = promisify<Buffer, Buffer, number, object, Buffer>(scrypt);
const cosignBlock = /-----BEGIN ENCRYPTED (SIGSTORE|COSIGN) PRIVATE KEY-----([^-]+)-----END/;

/**
 * Reads a private key in PEM: PKCS #8, plain or encrypted, SEC 1, PKCS #1, or cosign's own encrypted form. ECDSA with
 * P-256, RSA and Ed25519, which all verifiers of images know. `password` is asked for only where it is needed.
 */
export async function parseSigningKey(pem: Uint8Array, password: () => Promise<string>): Promise<KeyObject> {
  const text = Buffer.from(pem).toString("latin1");
  const [, , cosign] = cosignBlock.exec(text) ?? [];
  const isEncrypted = text.includes("ENCRYPTED");
  const passphrase = isEncrypted ? await password() : undefined;
  let key: KeyObject;
  try {
    key =
      cosign === undefined
        ? createPrivateKey({ key: text, ...(passphrase === undefined ? {} : { passphrase }) })
        : createPrivateKey({ key: await decrypt(cosign, passphrase!), format: "der", type: "pkcs8" });
  } catch (error) {
    throw isEncrypted
      ? new OcidError("UNAUTHENTICATED", "the private key cannot be decrypted; is the password right?", {
          cause: error,
        })
      : wrapError("read the private key", error, "INVALID_ARGUMENT");
  }
  const curve = key.asymmetricKeyDetails?.namedCurve;
  const isKnown =
    key.asymmetricKeyType === "ec"
      ? curve === "prime256v1"
      : ["rsa", "ed25519"].includes(key.asymmetricKeyType ?? "");
  if (!isKnown)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `the private key is ${curve ?? key.asymmetricKeyType}; sign with ECDSA P-256, RSA or Ed25519`,
    );
  return key;
}

/** By which bundles say which key has signed them: the digest of the public key. */
export function keyHint(key: KeyObject): string {
  const der = createPublicKey(key).export({ type: "spki", format: "der" });
  return createHash("sha256").update(der).digest("base64");
}

/** Cosign's form: JSON that names scrypt and NaCl's secretbox, with what the two need. */
async function decrypt(base64: string, password: string): Promise<Buffer> {
  const what = "encrypted private key";
  const document = new Fields(parseJsonObject(Buffer.from(base64, "base64"), what), what);
  const kdf = new Fields(document.raw("kdf"), `${what}: kdf`);
  const cipher = new Fields(document.raw("cipher"), `${what}: cipher`);
  if (kdf.string("name") !== "scrypt" || cipher.string("name") !== "nacl/secretbox")
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what}: ${kdf.string("name")} with ${cipher.string("name")} is not known`,
    );
  const params = new Fields(kdf.raw("params"), `${what}: params`);
  const [N, r, p] = [params.size("N"), params.size("r"), params.size("p")];
  const memory = 128 * N * r;
  if (memory > 2 ** 30 || p > 16)
    throw new OcidError("RESOURCE_EXHAUSTED", `${what}: it would take ${memory} bytes of memory to open`);
  const bytes = (fields: Fields, key: string) => Buffer.from(fields.string(key), "base64");
  const secret = await deriveKey(Buffer.from(password), bytes(kdf, "salt"), 32, {
    N,
    r,
    p,
    maxmem: 2 * memory + 2 ** 20,
  });
  return Buffer.from(xsalsa20poly1305(secret, bytes(cipher, "nonce")).decrypt(bytes(document, "ciphertext")));
}
