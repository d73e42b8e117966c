import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import ts from "typescript";

/** What a declaration file exports: the text of each declaration, by the name that importers use. */
export type Surface = ReadonlyMap<string, string>;

/**
 * Reads what a declaration file exports, through the files of its own package that it exports from. What is generated
 * (`gen/`) is named by a star: it is reviewed as the protocol that it is made of.
 */
export function readSurface(file: string): Surface {
  const surface = new Map<string, string>();
  const source = parse(file);
  for (const statement of source.statements) {
    if (!ts.isExportDeclaration(statement)) {
      if (isExported(statement))
        for (const name of namesOf(statement)) add(surface, name, statement.getText(source));
    } else if (statement.moduleSpecifier && ts.isStringLiteral(statement.moduleSpecifier)) {
      const from = statement.moduleSpecifier.text;
      if (from.includes("/gen/")) surface.set(`* ${from}`, statement.getText(source));
      else addFrom(surface, statement, readSurface(declarationsOf(file, from)));
    } else if (statement.getText(source) !== "export {};") {
      throw new Error(`${file}: ${statement.getText(source)} has no place that it exports from`);
    }
  }
  return surface;
}

function addFrom(surface: Map<string, string>, statement: ts.ExportDeclaration, other: Surface): void {
  const { exportClause } = statement;
  if (exportClause === undefined) for (const [name, text] of other) surface.set(name, text);
  else if (ts.isNamedExports(exportClause))
    for (const { name, propertyName } of exportClause.elements) {
      const text = other.get((propertyName ?? name).text);
      if (text === undefined) throw new Error(`no declaration of ${(propertyName ?? name).text} was found`);
      surface.set(name.text, propertyName ? `// ${name.text} is:\n${text}` : text);
    }
  else throw new Error("export * as … is not known here");
}

function add(surface: Map<string, string>, name: string, text: string): void {
  const before = surface.get(name);
  surface.set(name, before === undefined ? text : `${before}\n${text}`);
}

function isExported(statement: ts.Statement): boolean {
  return (
    ts.canHaveModifiers(statement) &&
    (ts.getModifiers(statement) ?? []).some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)
  );
}

function namesOf(statement: ts.Statement): readonly string[] {
  if (ts.isVariableStatement(statement))
    return statement.declarationList.declarations.map(({ name }) => name.getText());
  const { name } = statement as ts.Statement & { readonly name?: ts.Identifier };
  return name === undefined ? [] : [name.text];
}

function declarationsOf(importer: string, from: string): string {
  return join(dirname(importer), from.replace(/\.[jt]s$/, ".d.ts"));
}

function parse(file: string): ts.SourceFile {
  return ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest, true);
}
