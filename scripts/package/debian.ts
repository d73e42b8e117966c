import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { gzipSync } from "node:zlib";
import { executablePath } from "../build/apps.ts";
import { type BuildTarget, nativeTarget } from "../build/target.ts";
import { repository } from "../run.ts";
import { bundledPackages } from "./bundled-packages.ts";
import { bashCompletion, fishCompletion, zshCompletion } from "./completions.ts";
import { commentedConfig } from "./default-config.ts";
import { configPage, programPage } from "./man-pages.ts";
import { ocicSpec, ocidSpec } from "./program-spec.ts";
import { sbomOf } from "./sbom.ts";
import { thirdPartyNotices } from "./third-party-notices.ts";

const architectures: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

/** Makes `ocid_<version>_<architecture>.deb` of the executables built for a machine, in `directory`; returns its path. */
export async function buildDebianPackage(
  directory: string,
  {
    target = nativeTarget(),
    compression = "zstd",
  }: { readonly target?: BuildTarget; readonly compression?: "zstd" | "none" } = {},
): Promise<string> {
  const version = JSON.parse(readFileSync(join(repository, "apps/ocid/package.json"), "utf8"))
    .version as string;
  const architecture = architectures[target.architecture];
  if (architecture === undefined)
    throw new Error(`no Debian architecture for processor ${target.architecture}`);
  const tree = mkdtempSync(join(tmpdir(), "ocid-deb-"));
  try {
    chmodSync(tree, 0o755);
    for (const [path, content] of Object.entries(await files(target))) put(join(tree, path), content);
    for (const app of ["ocid", "ocic"])
      put(join(tree, "usr/bin", app), { file: executablePath(app, target) }, 0o755);
    writeControl(tree, version, architecture);
    mkdirSync(directory, { recursive: true });
    const path = join(directory, `ocid_${version}_${architecture}.deb`);
    execFileSync(
      "dpkg-deb",
      [
        "--root-owner-group",
        `-Z${compression}`,
        ...(compression === "zstd" ? ["-z3"] : []),
        "--build",
        tree,
        path,
      ],
      {
        stdio: ["ignore", "ignore", "inherit"],
      },
    );
    return path;
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

type Content = string | Uint8Array | { readonly file: string };

/** What the package holds beside the executables, by its path on the machine. */
async function files(target: BuildTarget): Promise<Readonly<Record<string, Content>>> {
  const packaging = (name: string): Content => ({ file: join(repository, "packaging", name) });
  const page = (text: string) => gzipSync(text, { level: 9 });
  const ocid = ocidSpec();
  const ocic = await ocicSpec();
  const packages = [...(await bundledPackages("ocid")), ...(await bundledPackages("ocic"))];
  return {
    "etc/ocid/ocid.conf": commentedConfig(),
    "lib/systemd/system/ocid.service": packaging("ocid.service"),
    "usr/share/doc/ocid/copyright": packaging("copyright"),
    "usr/share/doc/ocid/third-party-licences.gz": page(thirdPartyNotices(packages)),
    "usr/share/doc/ocid/ocid.cdx.json": await sbomOf("ocid", target),
    "usr/share/doc/ocid/ocic.cdx.json": await sbomOf("ocic", target),
    "usr/share/doc/ocid/examples/10-ocid-bridge.conflist": packaging("10-ocid-bridge.conflist.example"),
    "usr/share/doc/ocid/ocid.schema.json": { file: join(repository, "docs/operate/ocid.schema.json") },
    "usr/share/man/man8/ocid.8.gz": page(
      programPage(ocid, 8, [
        ".SH SIGNALS",
        "SIGHUP reads the configuration again. SIGTERM stops the daemon; containers go on running.",
        ".SH SEE ALSO",
        ".BR ocid.conf (5), ocic (1)",
      ]),
    ),
    "usr/share/man/man1/ocic.1.gz": page(programPage(ocic, 1)),
    "usr/share/man/man5/ocid.conf.5.gz": page(configPage()),
    ...Object.fromEntries(
      [ocid, ocic].flatMap(spec => [
        [`usr/share/bash-completion/completions/${spec.name}`, bashCompletion(spec)],
        [`usr/share/zsh/vendor-completions/_${spec.name}`, zshCompletion(spec)],
        [`usr/share/fish/vendor_completions.d/${spec.name}.fish`, fishCompletion(spec)],
      ]),
    ),
  };
}

function writeControl(tree: string, version: string, architecture: string): void {
  const paths = readdirSync(tree, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name));
  const bytes = paths.reduce((sum, path) => sum + statSync(path).size, 0);
  const sums = paths.map(
    path => `${createHash("md5").update(readFileSync(path)).digest("hex")}  ${relative(tree, path)}\n`,
  );
  put(join(tree, "DEBIAN/md5sums"), sums.join(""));
  put(join(tree, "DEBIAN/conffiles"), "/etc/ocid/ocid.conf\n");
  put(
    join(tree, "DEBIAN/control"),
    `Package: ocid
Version: ${version}
Architecture: ${architecture}
Maintainer: The OCID authors <ocid@localhost>
Installed-Size: ${Math.ceil(bytes / 1024)}
Depends: runc | crun, conmon, containernetworking-plugins, iptables, libc6 (>= 2.28), libatomic1, libstdc++6, libgcc-s1
Suggests: podman, skopeo
Section: admin
Priority: optional
Description: Kubernetes Container Runtime Interface of small, separate parts
 ocid serves the kubelet: it gets images, keeps them in a store shared with
 Podman, Buildah and skopeo, and runs pods with runc or crun. Containers outlive
 it. ocic is the command line: images with or without the daemon, pods and
 containers over its socket.
`,
  );
  for (const script of ["postinst", "prerm", "postrm"])
    put(join(tree, "DEBIAN", script), { file: join(repository, "packaging", `${script}.sh`) }, 0o755);
}

function put(path: string, content: Content, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  if (typeof content === "string" || content instanceof Uint8Array) writeFileSync(path, content);
  else copyFileSync(content.file, path);
  chmodSync(path, mode);
}
