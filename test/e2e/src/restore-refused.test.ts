import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { coreImage, mountpointsImage } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkpointAnnotation, pushCheckpointImage } from "./checkpoint-image.ts";
import type { DaemonUnderTest } from "./daemon-under-test.ts";
import { podActions, type TestPod } from "./pod-actions.ts";
import { anything, type RestoreUnderTest, runs, startRestoreUnderTest } from "./restore-under-test.ts";

let under: RestoreUnderTest;
let daemon: DaemonUnderTest;
const { pod, container, remove } = podActions(() => daemon);

beforeAll(async () => {
  under = await startRestoreUnderTest();
  daemon = under.daemon;
});

afterAll(async () => {
  await under[Symbol.asyncDispose]();
});

const made = (in_: TestPod, image: string, more: object = {}) =>
  container(in_, "c", runs, { image: { image }, ...more });

describe("a checkpoint is refused", () => {
  let p: TestPod;
  beforeAll(async () => {
    p = await pod("refusing");
  });
  afterAll(async () => {
    await remove(p);
  });

  const write = (file: string, value: unknown) => (directory: string) =>
    writeFileSync(join(directory, file), typeof value === "string" ? value : JSON.stringify(value));
  const config = (change: object) => (directory: string) => {
    const path = join(directory, "config.dump");
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...change }));
  };
  /** Another tar of changed files, made by a script that runs in an empty directory. */
  const changes = (script: string) => (directory: string) => {
    const work = join(daemon.root, "changes");
    mkdirSync(work);
    execFileSync("sh", ["-ec", script], {
      cwd: work,
      env: { ...process.env, OUT: join(directory, "rootfs-diff.tar") },
    });
    rmSync(work, { recursive: true });
  };
  const link = (file: string, to: string) => (directory: string) => {
    rmSync(join(directory, file), { recursive: true, force: true });
    symlinkSync(to, join(directory, file));
  };
  const unknown = "d".repeat(64);

  test.each<readonly [string, (directory: string) => void, string, string]>([
    ["without a configuration", d => rmSync(join(d, "config.dump")), "INVALID_ARGUMENT", "config.dump"],
    ["whose configuration is no JSON", write("spec.dump", "{"), "INVALID_ARGUMENT", "spec.dump"],
    [
      "without processes",
      d => rmSync(join(d, "checkpoint"), { recursive: true }),
      "INVALID_ARGUMENT",
      "checkpoint",
    ],
    [
      "without criu's inventory",
      d => rmSync(join(d, "checkpoint/inventory.img")),
      "INVALID_ARGUMENT",
      "inventory",
    ],
    [
      "with more standard streams",
      write("checkpoint/descriptors.json", ["", "", "", "pipe:[1]"]),
      "INVALID_ARGUMENT",
      "streams",
    ],
    [
      "of a tag",
      config({ rootfsImageRef: "", rootfsImageName: "box:1" }),
      "INVALID_ARGUMENT",
      "by id or digest",
    ],
    [
      "of an image that nobody has",
      config({ rootfsImageRef: unknown, rootfsImageName: "" }),
      "FAILED_PRECONDITION",
      "is not on this node; pull it",
    ],
    [
      "of an id under another image's digest",
      config({ rootfsImageRef: unknown }),
      "FAILED_PRECONDITION",
      "was made of image",
    ],
    [
      "with a symlink to a file of the node",
      link("checkpoint/pages-1.img", "/etc/shadow"),
      "INVALID_ARGUMENT",
      "symlink",
    ],
    ["whose configuration is a symlink", link("config.dump", "/etc/passwd"), "INVALID_ARGUMENT", "symlink"],
    [
      "whose removed files climb",
      write("deleted.files", ["../../../etc/hostname"]),
      "INVALID_ARGUMENT",
      "absolute path",
    ],
    ["that removes the root", write("deleted.files", ["/"]), "INVALID_ARGUMENT", "absolute path"],
    [
      "whose removed files are no list",
      write("deleted.files", { a: 1 }),
      "INVALID_ARGUMENT",
      "deleted.files",
    ],
    [
      "whose changes climb",
      changes('touch x; tar -P -cf "$OUT" --transform "s|x|../../../../escaped|" x'),
      "INVALID_ARGUMENT",
      "climbs out",
    ],
    [
      "whose changes hide files of the image by a layer's marks",
      changes('touch .wh.bin; tar -cf "$OUT" .wh.bin'),
      "INVALID_ARGUMENT",
      ".wh.bin",
    ],
    ["whose changes are no tar", write("rootfs-diff.tar", "x".repeat(2000)), "DATA_LOSS", "had changed"],
    [
      "whose process has more than is given",
      d => writeFileSync(join(d, "checkpoint/core-1.img"), coreImage({ capabilities: 1n << 21n })),
      "PERMISSION_DENIED",
      "CAP_SYS_ADMIN",
    ],
    [
      "whose process has mounted more than is given",
      d =>
        writeFileSync(
          join(d, "checkpoint/mountpoints-1.img"),
          mountpointsImage([{ path: "/node", externalKey: "/etc/hosts" }]),
        ),
      "PERMISSION_DENIED",
      "/node",
    ],
    [
      "that had something of the node mounted",
      d => {
        const spec = JSON.parse(readFileSync(join(d, "spec.dump"), "utf8"));
        spec.mounts.push({ destination: "/host", type: "bind", source: "/", options: ["rbind"] });
        writeFileSync(join(d, "spec.dump"), JSON.stringify(spec));
      },
      "FAILED_PRECONDITION",
      '"/host"',
    ],
  ])("%s", async (what, change, code, message) => {
    const bad = under.changed(what.replaceAll(/\W/g, "-"), change);
    const before = readFileSync("/etc/hostname", "utf8");
    await expect(made(p, bad)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    under.expectNothingLeft();
    expect(readFileSync("/etc/hostname", "utf8")).toBe(before);
    expect(existsSync(join(daemon.root, "r/overlay/escaped"))).toBe(false);
    rmSync(bad);
  });

  test("as an image too, whose symlinks lead nowhere but into itself", async () => {
    const bad = await pushCheckpointImage(
      daemon.registry,
      "test/bad",
      under.changed("image", d => {
        symlinkSync("/etc/shadow", join(d, "checkpoint/fs-1.img"));
      }),
    );
    await daemon.images.pullImage({ image: { image: bad } });
    await expect(made(p, bad)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("checkpoint/fs-1.img"),
    });
    under.expectNothingLeft();
    await daemon.images.removeImage({ image: { image: bad } });
  });

  test("whose changes and removed files go through symlinks touches nothing of the node", async () => {
    const aside = join(daemon.root, "aside");
    mkdirSync(aside);
    writeFileSync(join(aside, "kept"), "kept");
    const bad = under.changed("through", directory => {
      changes(
        `ln -s ${aside} out; tar -cf "$OUT" out; mkdir real; touch real/new; tar -rf "$OUT" --transform "s|real|out|" real/new`,
      )(directory);
      write("deleted.files", ["/out/kept", "/bin/../..//etc/nothing"])(directory);
    });
    await made(p, bad).catch(error => expect(error).toMatchObject({ code: "INVALID_ARGUMENT" }));
    expect(readdirSync(aside)).toEqual(["kept"]);
    for (const { id } of (await daemon.runtime.listContainers({})).containers)
      await daemon.runtime.removeContainer({ containerId: id });
    under.expectNothingLeft();
  });

  test("for mounts that it never had, and a path that is none", async () => {
    const more = { mounts: [{ hostPath: daemon.root, containerPath: "/more" }] };
    await expect(made(p, under.archive, more)).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining('"/more"'),
    });
    await expect(made(p, "/no/such.tar")).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(made(p, `${daemon.root}/../x.tar`)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    under.expectNothingLeft();
  });

  test("by the image policy, for itself, for the image below, and for an archive that nobody can have signed", async () => {
    const only = (scope: string) =>
      under.policy({ default: anything, transports: { docker: { [scope]: [{ type: "reject" }] } } });
    for (const scope of [under.frozen.replace(/:1$/, ""), daemon.image.replace(/:1$/, "")]) {
      only(scope);
      await expect(made(p, under.frozen), scope).rejects.toThrow("SignatureValidationFailed");
    }
    under.policy({ default: [{ type: "reject" }], transports: { docker: { "": anything } } });
    await expect(made(p, under.archive)).rejects.toThrow("an archive has no signatures");
    under.policy({ default: anything });
    under.expectNothingLeft();
  });

  test("where criu cannot work, with its reason", async () => {
    writeFileSync(under.inBin("criu"), "#!/bin/sh\necho 'Error (criu/x.c:1): no vDSO' >&2\nexit 1\n");
    await expect(made(p, under.frozen)).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("cannot restore containers: criu check ended with 1: no vDSO"),
    });
    writeFileSync(under.inBin("criu"), "#!/bin/sh\nexit 0\n");
    under.expectNothingLeft();
  });

  test("that is only called one", async () => {
    const named = await pushCheckpointImage(
      daemon.registry,
      "test/named",
      join(under.unpacked, "rootfs-diff.tar"),
      {
        [checkpointAnnotation]: "c",
      },
    );
    await daemon.images.pullImage({ image: { image: named } });
    await expect(made(p, named)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("config.dump"),
    });
    await daemon.images.removeImage({ image: { image: named } });
    under.expectNothingLeft();
  });
});
