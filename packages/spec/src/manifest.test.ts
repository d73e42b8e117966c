import { describe, expect, test } from "vitest";
import { chainIds, type DiffId, digestBytes } from "./digest.ts";
import { choosePlatform, parseManifest } from "./manifest.ts";
import { mediaTypes } from "./media-types.ts";
import { parseImageConfig } from "./parse-image-config.ts";
import { parsePlatform } from "./platform.ts";
import { verifyBytes, verifyStream } from "./verify.ts";

const bytes = (value: unknown) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
const descriptor = (more: object = {}) => ({
  mediaType: mediaTypes.ociLayerGzip,
  digest: digestBytes("x"),
  size: 1,
  ...more,
});
const image = {
  schemaVersion: 2,
  config: descriptor({ mediaType: mediaTypes.ociConfig }),
  layers: [descriptor()],
};
const index = { schemaVersion: 2, manifests: [descriptor({ mediaType: mediaTypes.ociManifest })] };

describe("manifests", () => {
  test("are told apart by their shape, and typed by what they hold", () => {
    expect(parseManifest(bytes(image))).toMatchObject({ kind: "image", mediaType: mediaTypes.ociManifest });
    expect(parseManifest(bytes(index))).toMatchObject({ kind: "index", mediaType: mediaTypes.ociIndex });
    const docker = { ...image, config: descriptor({ mediaType: mediaTypes.dockerConfig }) };
    expect(parseManifest(bytes(docker)).mediaType).toBe(mediaTypes.dockerManifest);
  });

  test.each([
    ["not JSON", "<html>", undefined, /is not JSON/],
    ["a list", "[]", undefined, /not a JSON object/],
    ["an index that is delivered as an image", index, mediaTypes.ociManifest, /shape of an index/],
    [
      "an image that says it is an index",
      { ...image, mediaType: mediaTypes.ociIndex },
      undefined,
      /shape of an image/,
    ],
    ["both at once", { ...image, ...index }, undefined, /at once/],
    ["neither", { schemaVersion: 2 }, undefined, /neither/],
    [
      "another type than delivered",
      { ...image, mediaType: mediaTypes.dockerManifest },
      mediaTypes.ociManifest,
      /delivered as/,
    ],
    ["schema 1", { schemaVersion: 1, fsLayers: [] }, undefined, /schema version 1/],
    [
      "a digest with a path in it",
      { ...image, layers: [descriptor({ digest: "sha256:../../etc/passwd" })] },
      undefined,
      /not a digest/,
    ],
    ["a negative size", { ...image, layers: [descriptor({ size: -1 })] }, undefined, /size in bytes/],
    ["a size that is text", { ...image, layers: [descriptor({ size: "1" })] }, undefined, /size in bytes/],
    [
      "deep nesting",
      `{"schemaVersion":2,"a":${"[".repeat(100)}${"]".repeat(100)}}`,
      undefined,
      /nested deeper/,
    ],
    [
      "bytes that are not UTF-8",
      Buffer.from([0x7b, 0xff, 0x7d]).toString("latin1") && "\ud800",
      undefined,
      /is not JSON/,
    ],
  ])("%s is refused", (_, document, mediaType, why) => {
    expect(() => parseManifest(bytes(document), mediaType)).toThrow(why);
  });

  test("longer than four mebibytes are refused", () => {
    expect(() => parseManifest(Buffer.alloc(5 << 20, " "))).toThrow(/more than the limit/);
  });
});

describe("platforms", () => {
  const offered = (...platforms: string[]) => ({
    schemaVersion: 2 as const,
    manifests: platforms.map((platform, at) => ({
      ...descriptor({ digest: digestBytes(`${at}`) }),
      platform: parsePlatform(platform),
    })),
  });

  test.each([
    ["linux/arm64", ["linux/amd64", "linux/arm64/v8"], 1],
    ["linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], 1],
    ["linux/amd64", ["linux/amd64", "linux/amd64"], 0],
    ["linux/amd64/v3", ["linux/amd64", "linux/amd64/v2"], 1],
  ])("%s finds its image", (wanted, platforms, at) => {
    expect(choosePlatform(offered(...platforms), parsePlatform(wanted)).digest).toBe(digestBytes(`${at}`));
  });

  test("what there is not is named with what there is", () => {
    expect(() => choosePlatform(offered("linux/amd64", "linux/s390x"), parsePlatform("linux/arm64"))).toThrow(
      "no image for linux/arm64 in the index (it has linux/amd64, linux/s390x)",
    );
  });

  test("attestations are not images", () => {
    const attestation = {
      ...descriptor(),
      platform: { os: "unknown", architecture: "unknown" },
      annotations: { "vnd.docker.reference.type": "attestation-manifest" },
    };
    expect(() =>
      choosePlatform({ schemaVersion: 2, manifests: [attestation] }, parsePlatform("linux/amd64")),
    ).toThrow(/it has none/);
  });
});

describe("configs", () => {
  test("are checked where it matters", () => {
    const config = parseImageConfig(
      bytes({
        os: "linux",
        architecture: "amd64",
        config: { Env: ["A=b"], Cmd: null, Volumes: { "/v": {} } },
        rootfs: { type: "layers", diff_ids: [digestBytes("x")] },
        unknown: 1,
      }),
    );
    expect(config.config).toEqual({ Env: ["A=b"], Volumes: { "/v": {} } });
    expect(() => parseImageConfig(bytes({ os: "linux", rootfs: { diff_ids: ["x"] } }))).toThrow(
      /not a digest/,
    );
    expect(() =>
      parseImageConfig(bytes({ os: "linux", config: { Env: "A=b" }, rootfs: { diff_ids: [] } })),
    ).toThrow(/Env should be a list/);
  });
});

test("chain ids follow the specification", () => {
  const [a, b] = [digestBytes("a") as DiffId, digestBytes("b") as DiffId];
  expect(chainIds([a, b])).toEqual([a, digestBytes(`${a} ${b}`)]);
});

describe("content is what was promised, or an error", () => {
  const expected = { digest: digestBytes("hello"), size: 5 };
  const read = async (...chunks: string[]) => {
    const source = (async function* () {
      for (const chunk of chunks) yield Buffer.from(chunk);
    })();
    let text = "";
    for await (const chunk of verifyStream(source, expected)) text += Buffer.from(chunk);
    return text;
  };

  test("as a stream", async () => {
    expect(await read("hel", "lo")).toBe("hello");
    await expect(read("hell")).rejects.toMatchObject({ code: "DATA_LOSS", reason: "SizeMismatch" });
    await expect(read("hello", "!")).rejects.toMatchObject({ code: "DATA_LOSS", reason: "SizeMismatch" });
    await expect(read("HELLO")).rejects.toMatchObject({ code: "DATA_LOSS", reason: "DigestMismatch" });
  });

  test("in memory", () => {
    verifyBytes(Buffer.from("hello"), expected);
    expect(() => verifyBytes(Buffer.from("HELLO"), expected)).toThrow(/expected content with digest/);
  });
});
