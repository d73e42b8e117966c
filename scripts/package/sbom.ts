import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, relative } from "node:path";
import { Enums, Models, Serialize, Spec } from "@cyclonedx/cyclonedx-library";
import { type BuildTarget, nativeTarget } from "../build/target.ts";
import { repository } from "../run.ts";
import { type BundledPackage, bundledPackages, readPackage } from "./bundled-packages.ts";

/**
 * What is in an executable, as a CycloneDX 1.6 document in JSON: packages with licences and the hashes of their
 * tarballs, Node and koffi's native half with the hashes of their files.
 */
export async function sbomOf(app: string, target: BuildTarget = nativeTarget()): Promise<string> {
  const packages = await bundledPackages(app);
  const own = packages.find(({ name }) => name === app)!;
  const { koffi } = target;
  const components = [
    ...packages.filter(found => found !== own).map(libraryOf),
    withFile(libraryOf(readPackage(relative(repository, dirname(dirname(koffi))))), koffi),
    withFile(nodeComponent(), target.node),
  ];
  const component = libraryOf(own);
  component.type = Enums.ComponentType.Application;
  const bom = new Models.Bom({
    metadata: new Models.Metadata({ component }),
    components: new Models.ComponentRepository(components),
  });
  const serializer = new Serialize.JsonSerializer(new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6));
  return `${serializer.serialize(bom, { sortLists: true, space: 2 })}\n`;
}

function libraryOf({ name, version, license, sha512 }: BundledPackage): Models.Component {
  const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
  const component = new Models.Component(Enums.ComponentType.Library, name, { version, purl, bomRef: purl });
  component.licenses.add(
    /^[\w.+-]+$/.test(license) ? new Models.SpdxLicense(license) : new Models.LicenseExpression(license),
  );
  if (sha512 !== undefined) component.hashes.set(Enums.HashAlgorithm["SHA-512"], sha512);
  return component;
}

function nodeComponent(): Models.Component {
  const version = process.version.slice(1);
  const purl = `pkg:generic/node@${version}`;
  const component = new Models.Component(Enums.ComponentType.Platform, "node", {
    version,
    purl,
    bomRef: purl,
  });
  component.licenses.add(new Models.SpdxLicense("MIT"));
  return component;
}

/** The hash of the file that is in the executable, instead of the tarball's. */
function withFile(component: Models.Component, file: string): Models.Component {
  component.hashes.clear();
  component.hashes.set(
    Enums.HashAlgorithm["SHA-256"],
    createHash("sha256").update(readFileSync(file)).digest("hex"),
  );
  return component;
}
