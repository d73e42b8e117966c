import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../run.ts";

/** Where the blocks lie for the compiler: beside a package.json that knows all packages. Git does not see it. */
const folder = join(repository, "reference/blocks");

/**
 * Makes a file of each TypeScript block in the documentation, for the compiler to check with everything else. A line of
 * a block has the number that it has in its document, so that what the compiler says can be found.
 */
export function extractCodeBlocks(): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const path of globSync("{*.md,docs/**/*.md,packages/*/README.md,apps/*/README.md}", {
    cwd: repository,
  }))
    for (const { line, text } of codeBlocks(readFileSync(join(repository, path), "utf8"), path)) {
      const name = `${path.replace(/\.md$/, "").replaceAll("/", "_")}_${line}.ts`;
      // A block without imports is a module all the same: it may wait, and its names are its own.
      writeFileSync(join(folder, name), `${"\n".repeat(line)}${text}export {};\n`);
    }
}

/** The TypeScript blocks of a document; JavaScript is refused, because nobody would check it. */
export function codeBlocks(document: string, path: string): readonly { line: number; text: string }[] {
  return [...document.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].flatMap(({ index, 1: language, 2: text }) => {
    const line = document.slice(0, index).split("\n").length;
    if (/^(js|javascript|jsx|tsx|typescript)$/.test(language!))
      throw new Error(
        `${path}:${line}: write code as \`\`\`ts, which is type-checked, not as \`\`\`${language}`,
      );
    return language === "ts" ? [{ line, text: text! }] : [];
  });
}
