import fc from "fast-check";

/** Bytes that begin as something valid and are cut, repeated, overwritten and grown in a few places. */
export function mutatedBytes(seeds: readonly (string | Uint8Array)[]): fc.Arbitrary<Buffer> {
  const edit = fc.record({
    at: fc.nat(1 << 16),
    kind: fc.constantFrom("set", "insert", "remove", "repeat", "cut"),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
  });
  return fc
    .tuple(fc.constantFrom(...seeds.map(seed => Buffer.from(seed))), fc.array(edit, { maxLength: 6 }))
    .map(([seed, edits]) =>
      edits.reduce((bytes, { at, kind, bytes: more }) => {
        const place = bytes.byteLength === 0 ? 0 : at % bytes.byteLength;
        const [before, after] = [bytes.subarray(0, place), bytes.subarray(place)];
        if (kind === "cut") return before;
        if (kind === "insert") return Buffer.concat([before, more, after]);
        if (kind === "repeat") return Buffer.concat([before, after.subarray(0, 64), after]);
        return Buffer.concat([before, kind === "set" ? more : "", after.subarray(more.length)].map(toBuffer));
      }, seed),
    );
}

function toBuffer(part: string | Uint8Array): Buffer {
  return Buffer.from(part);
}

/** Made once: it takes most of a second. */
const anyText = fc.string({ unit: "binary", maxLength: 200 });

export function mutatedText(seeds: readonly string[]): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 4, arbitrary: mutatedBytes(seeds).map(bytes => bytes.toString("utf8")) },
    { weight: 1, arbitrary: anyText },
  );
}

const hostileKey = fc.constantFrom(
  "__proto__",
  "constructor",
  "toString",
  "",
  "a\0b",
  "../x",
  "x".repeat(300),
);
const hostileValue = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom<unknown>(
    null,
    -1,
    1e308,
    2 ** 53,
    -0,
    "",
    "../../etc",
    "a\nb",
    "\0",
    [],
    {},
    [[]],
    "x".repeat(5000),
  ),
);

/** Documents in which a few values, wherever they stand, are others than they should be, gone or twice there. */
export function mutatedJson(documents: readonly unknown[]): fc.Arbitrary<unknown> {
  const edit = fc.record({
    at: fc.nat(200),
    kind: fc.constantFrom("replace", "remove", "add"),
    key: hostileKey,
    value: hostileValue,
  });
  return fc
    .tuple(fc.constantFrom(...documents), fc.array(edit, { maxLength: 4 }))
    .map(([document, edits]) => {
      const root = { it: structuredClone(document) };
      for (const { at, kind, key, value: shared } of edits) {
        const value = structuredClone(shared);
        const places = placesIn(root);
        const [holder, name] = places[at % places.length]!;
        const inner = holder[name];
        if (kind === "remove" && holder !== root) delete holder[name];
        else if (kind === "add" && Array.isArray(inner)) inner.push(value);
        else if (kind === "add" && typeof inner === "object" && inner !== null)
          Object.defineProperty(inner, key, { value, enumerable: true, configurable: true, writable: true });
        else holder[name] = value;
      }
      return root.it;
    });
}

type Holder = Record<string, unknown>;

function placesIn(holder: Holder): [Holder, string][] {
  return Object.keys(holder).flatMap(name => {
    const inner = Object.getOwnPropertyDescriptor(holder, name)?.value;
    const below = typeof inner === "object" && inner !== null ? placesIn(inner as Holder) : [];
    return [[holder, name] as [Holder, string], ...below];
  });
}

/** The same bytes in pieces, as a connection may bring them. */
export function inPieces(bytes: fc.Arbitrary<Buffer>): fc.Arbitrary<readonly Buffer[]> {
  return fc.tuple(bytes, fc.array(fc.integer({ min: 1, max: 64 }), { maxLength: 8 })).map(([whole, cuts]) => {
    let at = 0;
    const pieces: Buffer[] = [];
    for (const cut of cuts) {
      pieces.push(whole.subarray(at, at + cut));
      at += cut;
    }
    return [...pieces, whole.subarray(at)];
  });
}
