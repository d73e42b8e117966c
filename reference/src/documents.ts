import { basename, dirname } from "node:path";
import { type Application, Converter, type DocumentReflection, type NormalizedPath } from "typedoc";

/** The concept pages, in the order of the navigation. */
export const documents: readonly string[] = [
  "ARCHITECTURE.md",
  "docs/*.md",
  "docs/design/*.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "docs/security/*.md",
  "docs/operate/README.md",
  "docs/operate/!(README).md",
  "apps/*/README.md",
  "docs/adr/*.md",
];

/** Where a page stands in the navigation, by its path. */
const groups: readonly (readonly [path: RegExp, group: string])[] = [
  [/^docs\/operate\//, "Operate"],
  [/^docs\/security\/|^SECURITY$/, "Security"],
  [/^apps\//, "Programs"],
  [/^docs\/adr\//, "Decisions"],
  [/^/, "Understand"],
];

export const groupOrder: readonly string[] = [
  "Modules",
  "Understand",
  "Operate",
  "Programs",
  "Security",
  "*",
];

/** Calls pages by their first heading and puts them in groups; TypeDoc calls them by their path. */
export function nameDocuments(app: Application): void {
  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_, page: DocumentReflection) => {
    page.frontmatter["group"] = groups.find(([path]) => path.test(page.name))![1];
    const text = page.content.map(part => part.text).join("");
    page.name = /^# (.+)$/m.exec(text)?.[1] ?? page.name;
    // Links to a folder lead to its README.
    const { files } = page.project;
    const path = files.getReflectionPath(page);
    if (path !== undefined && basename(path) === "README.md")
      files.registerReflectionPath(dirname(path) as NormalizedPath, page);
  });
}
