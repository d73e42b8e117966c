import { join } from "node:path";
import { Application, type ProjectReflection } from "typedoc";
import { documents, groupOrder, nameDocuments } from "./documents.ts";
import { doors, repository } from "./doors.ts";
import { namePackages } from "./packages.ts";

// Makes the static site of the API reference and the concept pages. Fails with links that lead nowhere, and with what
// the public interface speaks of and nobody can import.
const out = process.argv[2] ?? join(repository, "dist/docs");
const app = await Application.bootstrap({
  name: "OCID",
  basePath: repository,
  readme: join(repository, "README.md"),
  entryPoints: doors().map(({ file }) => join(repository, file)),
  projectDocuments: documents.map(path => join(repository, path)),
  tsconfig: join(repository, "reference/tsconfig.json"),
  skipErrorChecking: true, // `npm run check` does it.
  excludeInternal: true,
  excludePrivate: true,
  disableSources: true,
  hideGenerator: true,
  searchInComments: true,
  searchInDocuments: true,
  groupOrder: [...groupOrder],
  headings: { readme: false, document: false },
  navigation: { includeGroups: true, includeFolders: false },
  highlightLanguages: ["typescript", "javascript", "json", "shellscript", "toml", "yaml"],
});
nameDocuments(app);
namePackages(app);
const project = await app.convert();
if (project === undefined) process.exit(1);
validate(project);
await app.generateDocs(project, out);
const { logger } = app;
if (logger.hasErrors() || logger.hasWarnings() || logger.validationWarningCount > 0) process.exit(1);

function validate(project: ProjectReflection): void {
  app.options.setValue("validation", { notExported: false, invalidLink: true, invalidPath: true });
  app.validate(project);
  // TypeDoc looks for what is not exported in the project's own package only; here are several.
  app.options.setValue("validation", { notExported: true, invalidLink: false, invalidPath: false });
  for (const { name } of doors()) {
    project.packageName = name;
    app.validate(project);
  }
  delete project.packageName;
}
