import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MountPropagation } from "@ocid/cri-api";
import { copyImage, createLayoutSource, createRegistryDestination } from "@ocid/image-copy";
import { createRegistryClient } from "@ocid/registry";
import { parseReference } from "@ocid/spec";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

let daemon: DaemonUnderTest;
const { pod, container, started, exec, remove, status } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

/** Puts an artifact into the registry whose layers are these files. */
async function pushArtifact(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const directory = join(daemon.root, `artifact-${name}`);
  mkdirSync(join(directory, "blobs/sha256"), { recursive: true });
  const put = (mediaType: string, content: string, annotations?: object) => {
    const hex = createHash("sha256").update(content).digest("hex");
    writeFileSync(join(directory, "blobs/sha256", hex), content);
    return {
      mediaType,
      digest: `sha256:${hex}`,
      size: Buffer.byteLength(content),
      ...(annotations ? { annotations } : {}),
    };
  };
  const layers = Object.entries(files).map(([title, content]) =>
    put("application/x-test", content, { "org.opencontainers.image.title": title }),
  );
  const type = "application/vnd.oci.image.manifest.v1+json";
  const config = put("application/vnd.oci.empty.v1+json", "{}");
  const manifest = { schemaVersion: 2, mediaType: type, artifactType: "application/x-test", config, layers };
  writeFileSync(join(directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(
    join(directory, "index.json"),
    JSON.stringify({ schemaVersion: 2, manifests: [put(type, JSON.stringify(manifest))] }),
  );
  const reference = `${daemon.registry}/test/${name}:1`;
  await using client = createRegistryClient({ tlsVerify: false });
  await copyImage(
    createLayoutSource(directory),
    createRegistryDestination(client, parseReference(reference)),
  );
  return reference;
}

describe("an artifact", () => {
  test("is pulled, listed, a volume of its files, and removed", async () => {
    const name = await pushArtifact("model", { "weights.bin": "1234", "docs/readme.md": "read me" });
    const { imageRef } = await daemon.images.pullImage({ image: { image: name } });
    const { image } = await daemon.images.imageStatus({ image: { image: name } });
    expect(image).toMatchObject({
      id: imageRef,
      repoTags: [name],
      repoDigests: [expect.stringContaining(imageRef)],
    });
    const p = await pod("artifact");
    const c = await started(p, "c", {
      mounts: [
        { containerPath: "/all", image: { image: name }, readonly: true },
        { containerPath: "/one", image: { image: imageRef }, readonly: true, imageSubPath: "weights.bin" },
        { containerPath: "/docs", image: { image: name }, readonly: true, imageSubPath: "docs" },
      ],
    });
    expect(await exec(c, "cat", "/all/weights.bin", "/all/docs/readme.md", "/one", "/docs/readme.md")).toBe(
      "1234read me1234read me",
    );
    expect(await exec(c, "sh", "-c", "(echo x > /all/weights.bin) 2>&1 || true")).toMatch(/Read-only/);
    expect((await status(c)).mounts.map(mount => mount.image?.imageRef)).toEqual([
      imageRef,
      imageRef,
      imageRef,
    ]);
    await daemon.images.removeImage({ image: { image: name } });
    expect((await daemon.images.imageStatus({ image: { image: name } })).image).toBeUndefined();
    expect(await exec(c, "cat", "/one")).toBe("1234");
    await remove(p);
  });

  test("is not run, and its files stay in their place", async () => {
    const name = await pushArtifact("plain", { file: "x" });
    const hostile = await pushArtifact("hostile", { "../../etc/cron.d/x": "x" });
    await daemon.images.pullImage({ image: { image: name } });
    const p = await pod("artifact-run");
    await expect(container(p, "c", ["true"], { image: { image: name } })).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("not run"),
    });
    await expect(
      container(p, "c", ["true"], {
        mounts: [{ containerPath: "/v", image: { image: name }, readonly: true, imageSubPath: "no" }],
      }),
    ).rejects.toMatchObject({ code: "NOT_FOUND" });
    await remove(p);
    await expect(daemon.images.pullImage({ image: { image: hostile } })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("unusable name"),
    });
    expect((await daemon.images.listImages({})).images.map(image => image.repoTags[0]).sort()).toEqual(
      [daemon.image, name].sort(),
    );
  });
});

describe("an image as a volume", () => {
  test("is reported with its id, also by sub-path, which stays inside", async () => {
    const { image } = await daemon.images.imageStatus({ image: { image: daemon.image } });
    const p = await pod("image-volume");
    const c = await started(p, "c", {
      mounts: [
        { containerPath: "/img", image: { image: daemon.image }, readonly: true, imageSubPath: "etc" },
      ],
    });
    expect((await status(c)).mounts[0]?.image).toMatchObject({ image: daemon.image, imageRef: image!.id });
    await daemon.kill();
    await daemon.start();
    expect((await status(c)).mounts[0]?.image?.imageRef).toBe(image!.id);
    for (const [imageSubPath, code] of [
      ["../../etc", "INVALID_ARGUMENT"],
      ["/etc", "INVALID_ARGUMENT"],
      ["no/such", "NOT_FOUND"],
    ])
      await expect(
        container(p, "x", ["true"], {
          mounts: [{ containerPath: "/img", image: { image: daemon.image }, readonly: true, imageSubPath }],
        }),
      ).rejects.toMatchObject({ code });
    await expect(
      container(p, "x", ["true"], { mounts: [{ containerPath: "/img", image: { image: daemon.image } }] }),
    ).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining("set readonly") });
    await remove(p);
  });
});

describe("a volume of the node", () => {
  test("is made where it is missing, and symlinks are followed", async () => {
    const missing = join(daemon.root, "missing/volume");
    const link = join(daemon.root, "link");
    symlinkSync(missing, link);
    const p = await pod("host-paths");
    const c = await started(p, "c", {
      mounts: [
        { containerPath: "/made", hostPath: missing },
        { containerPath: "/linked", hostPath: link },
      ],
    });
    expect(statSync(missing).mode & 0o777).toBe(0o755);
    expect(await exec(c, "sh", "-c", "echo x > /made/f; cat /linked/f")).toBe("x");
    await remove(p);
    expect(existsSync(join(missing, "f"))).toBe(true);
  });

  test("is read-only with all that is mounted below it, where asked", async () => {
    const { runtimeHandlers } = await daemon.runtime.status({});
    expect(runtimeHandlers[0]?.features).toMatchObject({
      recursiveReadOnlyMounts: true,
      userNamespaces: true,
    });
    const volume = join(daemon.root, "rro");
    mkdirSync(join(volume, "below"), { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(volume, "below")]);
    try {
      const p = await pod("rro");
      const c = await started(p, "c", {
        mounts: [
          { containerPath: "/ro", hostPath: volume, readonly: true },
          { containerPath: "/rro", hostPath: volume, readonly: true, recursiveReadOnly: true },
        ],
      });
      expect(await exec(c, "sh", "-c", "touch /ro/below/x && touch /rro/below/x 2>&1 || true")).toMatch(
        /Read-only/,
      );
      await remove(p);
    } finally {
      execFileSync("umount", [join(volume, "below")]);
    }
  });

  test("spreads mounts only where the node lets it", async () => {
    const volume = join(daemon.root, "spread");
    mkdirSync(volume);
    execFileSync("mount", ["--bind", volume, volume]);
    execFileSync("mount", ["--make-private", volume]);
    const p = await pod("propagation");
    const asks = (propagation: MountPropagation) => ({
      mounts: [{ containerPath: "/v", hostPath: volume, propagation }],
    });
    try {
      for (const propagation of [
        MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
        MountPropagation.PROPAGATION_BIDIRECTIONAL,
      ])
        await expect(container(p, "x", ["true"], asks(propagation))).rejects.toMatchObject({
          code: "FAILED_PRECONDITION",
          message: expect.stringContaining("not a shared"),
        });
      execFileSync("mount", ["--make-shared", volume]);
      const c = await started(p, "c", asks(MountPropagation.PROPAGATION_HOST_TO_CONTAINER));
      mkdirSync(join(volume, "later"));
      execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(volume, "later")]);
      writeFileSync(join(volume, "later/seen"), "seen");
      expect(await exec(c, "cat", "/v/later/seen")).toBe("seen");
    } finally {
      execFileSync("sh", ["-c", `umount ${volume}/later 2>/dev/null; umount ${volume}`]);
      await remove(p);
    }
  });
});
