const commonMagic = 0x54564319;
const magics = { core: 0x55053847, mountpoints: 0x55563928 };

type Field = readonly [field: number, value: number | bigint | string | Uint8Array];

/** A protobuf message of fields in their order. */
export function wireMessage(fields: readonly Field[]): Uint8Array {
  return Buffer.concat(
    fields.flatMap(([field, value]) => {
      if (typeof value === "number" || typeof value === "bigint")
        return [varint(BigInt(field) << 3n), varint(BigInt(value))];
      const bytes = Buffer.from(value as string);
      return [varint((BigInt(field) << 3n) | 2n), varint(BigInt(bytes.byteLength)), bytes];
    }),
  );
}

function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  for (let left = value; ; left >>= 7n) {
    if (left < 0x80n) return Buffer.from([...bytes, Number(left)]);
    bytes.push(Number(left & 0x7fn) | 0x80);
  }
}

/** An image file as criu writes it. */
export function criuImage(kind: keyof typeof magics, messages: readonly Uint8Array[]): Uint8Array {
  const word = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  const parts = messages.flatMap(message => [word(message.byteLength), message]);
  return Buffer.concat([word(commonMagic), word(magics[kind]), ...parts]);
}

export interface ProcessFacts {
  readonly uid?: number;
  /** Bits of a set of capabilities, in all five. */
  readonly capabilities?: bigint;
  readonly noNewPrivileges?: boolean;
  readonly seccomp?: boolean;
}

/** `core-PID.img` of a process. */
export function coreImage({
  uid = 0,
  capabilities = 0n,
  noNewPrivileges,
  seccomp,
}: ProcessFacts = {}): Uint8Array {
  const words = [capabilities & 0xffffffffn, capabilities >> 32n];
  const creds = wireMessage([
    ...[1, 3, 5, 7].map((field): Field => [field, uid]),
    ...[2, 4, 6, 8].map((field): Field => [field, uid]),
    ...[9, 10, 11, 12, 19].flatMap(field => words.map((word): Field => [field, word])),
    [13, 0],
    ...(noNewPrivileges ? [[18, 1] as const] : []),
  ]);
  const thread = wireMessage([[10, creds], ...(seccomp ? [[11, 2] as const] : [])]);
  const task = wireMessage([[1, 1]]);
  return criuImage("core", [
    wireMessage([
      [1, 1],
      [3, task],
      [5, thread],
    ]),
  ]);
}

export interface MountFacts {
  readonly path: string;
  readonly fstype?: number;
  readonly readonly?: boolean;
  readonly externalKey?: string | undefined;
  /** Default: the mount that the path is in, of those given. */
  readonly on?: string;
}

/** `mountpoints-ID.img`: the root and the given mounts. */
export function mountpointsImage(mounts: readonly MountFacts[]): Uint8Array {
  const all: readonly MountFacts[] = [{ path: "/", fstype: 17 }, ...mounts];
  const below = (path: string) =>
    all
      .map((mount, at) => ({ at, path: mount.path }))
      .filter(other => other.path !== path && (other.path === "/" || path.startsWith(`${other.path}/`)))
      .sort((a, b) => b.path.length - a.path.length)[0]?.at ?? -1;
  return criuImage(
    "mountpoints",
    all.map((mount, at) =>
      wireMessage([
        [1, mount.fstype ?? 0],
        [2, at + 10],
        [
          4,
          (mount.on === undefined ? below(mount.path) : all.findIndex(other => other.path === mount.on)) + 10,
        ],
        [5, mount.readonly ? 1 : 0],
        [7, mount.path],
        ...(mount.externalKey === undefined ? [] : [[18, mount.externalKey] as const]),
      ]),
    ),
  );
}
