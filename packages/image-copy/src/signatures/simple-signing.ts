import { OcidError, wrapError } from "@ocid/base";
import type { Key } from "openpgp";
import { parseSignaturePayload, type SignaturePayload } from "./signature-payload.ts";

const armour = "-----BEGIN PGP";
/** Loaded when a policy asks for it: the library is larger than all that a pull else needs. */
const loadOpenPgp = () => import("openpgp");

/** Reads OpenPGP key rings, binary or armoured. */
export async function parseKeyRings(rings: readonly Uint8Array[]): Promise<readonly Key[]> {
  const { readKeys } = await loadOpenPgp();
  const keys: Key[] = [];
  for (const ring of rings) {
    try {
      const text = Buffer.from(ring).toString("latin1");
      keys.push(
        ...(text.trimStart().startsWith(armour)
          ? await readKeys({ armoredKeys: text })
          : await readKeys({ binaryKeys: ring })),
      );
    } catch (error) {
      throw wrapError("read an OpenPGP key ring", error, "INVALID_ARGUMENT");
    }
  }
  return keys;
}

/** The payload of an OpenPGP message that one of the keys has signed; PERMISSION_DENIED when none has. */
export async function verifySimpleSignature(
  message: Uint8Array,
  keys: readonly Key[],
): Promise<SignaturePayload> {
  const { readMessage, verify } = await loadOpenPgp();
  let payload: Uint8Array;
  try {
    const { data, signatures } = await verify({
      message: await readMessage({ binaryMessage: message }),
      verificationKeys: [...keys],
      format: "binary",
    });
    await Promise.any(signatures.map(signature => signature.verified));
    payload = data as Uint8Array;
  } catch (error) {
    const cause = error instanceof AggregateError ? (error.errors[0] ?? "nobody has signed it") : error;
    throw new OcidError(
      "PERMISSION_DENIED",
      `not signed by any of the keys: ${(cause as Error).message ?? cause}`,
      {
        cause,
      },
    );
  }
  return parseSignaturePayload(payload, "atomic container signature");
}
