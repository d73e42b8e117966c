import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

export const repository: string = join(import.meta.dirname, "../..");

/** What a package is imported by. */
export interface Door {
  /** As in `import … from "@ocid/base/redirects"`. */
  readonly name: string;
  /** The package's folder, in the repository. */
  readonly folder: string;
  /** Its source, in the repository. */
  readonly file: string;
}

/** The doors of all published packages, in the order of their names. */
export function doors(): readonly Door[] {
  return globSync("packages/*/package.json", { cwd: repository })
    .sort()
    .flatMap(path => {
      const folder = dirname(path);
      const { name, exports } = JSON.parse(readFileSync(join(repository, path), "utf8")) as {
        readonly name: string;
        readonly exports: Readonly<Record<string, string | { readonly "@ocid/source": string }>>;
      };
      return Object.entries(exports).flatMap(([door, target]) =>
        typeof target === "string"
          ? []
          : [{ name: join(name, door), folder, file: join(folder, target["@ocid/source"]) }],
      );
    });
}
