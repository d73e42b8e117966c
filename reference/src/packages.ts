import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Application, Converter, MinimalSourceFile, type NormalizedPath } from "typedoc";
import { doors, repository } from "./doors.ts";

/** Calls modules as they are imported; the one of a package begins with its README, and links to its folder lead there. */
export function namePackages(app: Application): void {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const { name, folder, file } of doors()) {
      // TypeDoc calls them by their path, without the end.
      const called = file.replace(/(\/index)?\.ts$/, "");
      const module = project.children?.find(child => child.name === called);
      if (module === undefined) throw new Error(`no module was made of ${file}`);
      module.name = name;
      if (!file.endsWith("src/index.ts")) continue;
      const readme = join(repository, folder, "README.md");
      // The page has a heading of its own.
      const text = readFileSync(readme, "utf8").replace(/^# .*\n/, "");
      const source = new MinimalSourceFile(text, readme as NormalizedPath);
      module.readme = app.converter.parseRawComment(source, project.files).content;
      for (const path of [readme, join(repository, folder)])
        project.files.registerReflectionPath(path as NormalizedPath, module);
    }
  });
}
