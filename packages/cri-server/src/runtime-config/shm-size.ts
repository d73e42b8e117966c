import { OcidError } from "@ocid/base";

/** A pod's annotation for the size of its /dev/shm, which other runtimes know too; its handler must allow it. */
export const shmSizeAnnotation = "io.kubernetes.cri-o.ShmSize";

const defaultBytes = 64 * 1024 * 1024;
const units: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
};

/** Bytes of a pod's shared /dev/shm: 64 MiB unless an annotation gives another quantity, as Kubernetes writes them (`128Mi`). */
export function shmBytes(annotations: Readonly<Record<string, string>>): number {
  const asked = annotations[shmSizeAnnotation];
  if (asked === undefined) return defaultBytes;
  const [, number, unit] = /^([1-9]\d{0,14})(k|M|G|Ki|Mi|Gi)?$/.exec(asked) ?? [];
  const bytes = Number(number) * units[unit ?? ""]!;
  if (!Number.isSafeInteger(bytes))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `annotation ${shmSizeAnnotation}: not a size: ${JSON.stringify(asked.slice(0, 60))}`,
    );
  return bytes;
}
