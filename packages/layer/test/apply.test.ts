import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  createReadStream,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { getXattr, listXattrs, setXattr } from "@ocid/host";
import { createLayerPool, rebuildTar } from "@ocid/layer";
import { type DiffId, digestBytes } from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = tempRoot("layer-");
const source = join(root.path, "source");
const pool = createLayerPool({ threads: 1 });

beforeAll(() => {
  mkdirSync(join(source, "a/b"), { recursive: true });
  mkdirSync(join(source, "whiteouts"));
  mkdirSync(join(source, `long/${"n".repeat(120)}/${"m".repeat(120)}`), { recursive: true });
  writeFileSync(join(source, "a/b/file"), "hello");
  writeFileSync(join(source, "a/b/empty"), "");
  writeFileSync(join(source, "big"), Buffer.alloc(700_001, "0123456789abcdef!"));
  writeFileSync(join(source, `long/${"n".repeat(120)}/${"m".repeat(120)}/deep`), "x");
  writeFileSync(Buffer.concat([Buffer.from(`${source}/latin-`), Buffer.from([0xe9])]), "not utf-8");
  writeFileSync(join(source, 'quote"<&>'), "html");
  writeFileSync(join(source, "holes"), "");
  truncateSync(join(source, "holes"), 3_000_000);
  writeFileSync(join(source, "holes"), "end", { flag: "a" });
  writeFileSync(join(source, "setuid"), "s", { mode: 0o4755 });
  symlinkSync("/etc/passwd", join(source, "absolute-link"));
  linkSync(join(source, "a/b/file"), join(source, "hard"));
  writeFileSync(join(source, "whiteouts/.wh.gone"), "");
  writeFileSync(join(source, "whiteouts/.wh..wh..opq"), "");
  setXattr(join(source, "big"), "user.note", Buffer.from([0, 1, 0xff, 0x0a, 0x3d]));
  execFileSync(
    "sh",
    [
      "-ec",
      "mkfifo fifo; mknod null c 1 3; mkdir -p shared/sub; touch shared/tool; chgrp 50 shared; chmod 2775 shared; chmod 4755 setuid; chown 1000:2000 a; chmod 1777 a; setcap cap_net_raw+ep hard; touch -hd '2020-01-01 00:00:00.123456789' big absolute-link a/b",
    ],
    { cwd: source },
  );
});

afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  root.remove();
});

function listing(directory: string, also: readonly string[]): string {
  const list = execFileSync("find", [".", "!", "-path", ".", "-printf", "%p|%y|%m|%U|%G|%s|%T@|%n|%l\\n"], {
    cwd: directory,
    encoding: "latin1",
  });
  return (
    list
      .split("\n")
      .filter(line => !also.some(path => line.startsWith(`./${path}|`)))
      // A directory's size is the file system's business.
      .map(line => (line.includes("|d|") ? line.replace(/\|\d+\|(\d+\.\d+\|\d+\|)$/, "|-|$1") : line))
      .sort()
      .join("\n")
  );
}

const formats: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ["pax, gzip", ["--format=pax", "--xattrs", "--xattrs-include=*"], ["gzip", "-1"]],
  ["pax with sparse files, plain", ["--format=pax", "--xattrs", "--xattrs-include=*", "--sparse"], ["cat"]],
  ["pax with sparse format 0.1, gzip", ["--format=pax", "--sparse", "--sparse-version=0.1"], ["gzip", "-1"]],
  ["gnu with sparse files, gzip", ["--format=gnu", "--sparse"], ["gzip", "-1"]],
];

describe.each(formats)("a layer of GNU tar: %s", (_name, tarOptions, compressor) => {
  const tar = join(root.path, "layer.tar");
  const ours = join(root.path, "ours");
  const theirs = join(root.path, "theirs");
  const split = join(root.path, "tar-split.gz");

  test("is unpacked as GNU tar does it, and rebuilt bit for bit", async () => {
    for (const path of [ours, theirs, split]) rmSync(path, { recursive: true, force: true });
    mkdirSync(ours);
    mkdirSync(theirs);
    execFileSync("tar", [...tarOptions, "-cf", tar, "-C", source, "."]);
    const blob = execFileSync(compressor[0]!, compressor.slice(1), {
      input: readFileSync(tar),
      maxBuffer: 1 << 26,
    });
    writeFileSync(join(root.path, "blob"), blob);
    const diffId = digestBytes(readFileSync(tar)) as DiffId;

    const applied = await pool.apply({
      source: { kind: "file", path: join(root.path, "blob") },
      digest: digestBytes(blob),
      size: blob.byteLength,
      diffId,
      directory: ours,
      tarSplitPath: split,
    });
    expect(applied).toMatchObject({
      diffId,
      diffSize: readFileSync(tar).byteLength,
      uids: [0, 1000],
      gids: [0, 50, 2000],
    });

    execFileSync("tar", ["--xattrs", "--xattrs-include=*", "-xpf", tar, "-C", theirs]);
    const differ = ["whiteouts/gone", "whiteouts/.wh.gone", "whiteouts/.wh..wh..opq"];
    expect(listing(ours, differ)).toBe(listing(theirs, differ));
    execFileSync("sh", [
      "-c",
      'for f in big holes hard setuid "a/b/file"; do cmp "$0/$f" "$1/$f" || exit 1; done',
      ours,
      theirs,
    ]);
    for (const name of ["big", "hard"]) {
      expect(listXattrs(join(ours, name))).toEqual(listXattrs(join(theirs, name)));
      for (const attribute of listXattrs(join(theirs, name)))
        expect(getXattr(join(ours, name), attribute)).toEqual(getXattr(join(theirs, name), attribute));
    }
    expect(getXattr(join(ours, "whiteouts"), "trusted.overlay.opaque")?.toString()).toBe("y");
    expect(execFileSync("stat", ["-c", "%F %t:%T", join(ours, "whiteouts/gone")], { encoding: "utf8" })).toBe(
      "character special file 0:0\n",
    );

    const hash = createHash("sha256");
    const openFile = (name: string | Buffer) =>
      createReadStream(
        typeof name === "string" ? join(ours, name) : Buffer.concat([Buffer.from(`${ours}/`), name]),
      );
    for await (const chunk of rebuildTar({ tarSplitPath: split, openFile })) hash.update(chunk);
    expect(`sha256:${hash.digest("hex")}`).toBe(diffId);
  });
});

test("a file that has changed cannot be rebuilt", async () => {
  const directory = join(root.path, "changed");
  mkdirSync(directory);
  const blob = execFileSync("tar", ["-c", "-C", source, "a/b/file"]);
  writeFileSync(join(root.path, "small"), blob);
  const tarSplitPath = join(root.path, "small-split.gz");
  await pool.apply({
    source: { kind: "file", path: join(root.path, "small") },
    digest: digestBytes(blob),
    size: blob.byteLength,
    directory,
    tarSplitPath,
  });
  writeFileSync(join(directory, "a/b/file"), "hellO");
  const rebuild = async () => {
    for await (const _ of rebuildTar({
      tarSplitPath,
      openFile: name => createReadStream(join(directory, name.toString())),
    }));
  };
  await expect(rebuild()).rejects.toMatchObject({
    code: "DATA_LOSS",
    message: expect.stringMatching(/a\/b\/file.*checksum/),
  });
});

test("a thread that was made ready applies, and syncs, and is none the worse for a sync that failed", async () => {
  await using own = createLayerPool({ threads: 1 });
  own.prepare();
  own.prepare();
  await expect(own.sync(join(root.path, "nowhere"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  const directory = join(root.path, "ready");
  mkdirSync(directory);
  const blob = execFileSync("tar", ["-c", "-C", source, "a/b/file"]);
  writeFileSync(join(root.path, "ready.tar"), blob);
  const path = join(root.path, "ready.tar");
  const wanted = {
    source: { kind: "file", path },
    digest: digestBytes(blob),
    size: blob.byteLength,
    directory,
  } as const;
  const [applied] = await Promise.all([own.apply(wanted), own.sync(root.path)]);
  expect(applied.entries).toBe(1);
});
