import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { doors, repository } from "./doors.ts";
import { readSurface } from "./public-surface.ts";

/** What each package lets others use, as the text of `<folder>/api.md`, by its path in the repository. */
export function apiReports(): ReadonlyMap<string, string> {
  const declarations = mkdtempSync(join(tmpdir(), "ocid-api-"));
  try {
    emitDeclarations(declarations);
    const reports = new Map<string, string>();
    for (const { name, folder, file } of doors()) {
      const path = join(folder, "api.md");
      const surface = readSurface(join(declarations, file.replace(/\.ts$/, ".d.ts")));
      const texts = [...surface].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
      reports.set(
        path,
        `${reports.get(path) ?? heading(folder)}\n## ${name}\n\n\`\`\`ts\n${texts.join("\n")}\n\`\`\`\n`,
      );
    }
    return reports;
  } finally {
    rmSync(declarations, { recursive: true });
  }
}

function heading(folder: string): string {
  return `# What ${folder} exports\n\nMade by \`npm run api\`. A change of this file is a change for the package's users.\n`;
}

function emitDeclarations(directory: string): void {
  const args = [
    "--noEmit",
    "false",
    "--declaration",
    "--emitDeclarationOnly",
    "--noCheck",
    "--removeComments",
  ];
  const places = ["--rootDir", repository, "--outDir", directory];
  const tsc = join(repository, "node_modules/.bin/tsc");
  execFileSync(tsc, ["-p", join(repository, "reference/tsconfig.json"), ...args, ...places], {
    stdio: ["ignore", "inherit", "inherit"],
  });
}
