import type { BundledPackage } from "./bundled-packages.ts";

/** The licences of what others have written in the executables, one after the other. */
export function thirdPartyNotices(packages: readonly BundledPackage[]): string {
  const others = new Map(
    packages
      .filter(({ sha512 }) => sha512 !== undefined)
      .map(found => [`${found.name} ${found.version}`, found]),
  );
  const notices = [...others]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([title, { license, licenseText }]) => {
      const line = "=".repeat(72);
      return `${line}\n${title} (${license})\n${line}\n\n${licenseText?.trim() ?? "Its package has no text of it."}\n`;
    });
  return `The executables contain these packages of others, and Node.js ${process.version}, whose licence is at
https://github.com/nodejs/node/blob/${process.version}/LICENSE\n\n${notices.join("\n")}`;
}
