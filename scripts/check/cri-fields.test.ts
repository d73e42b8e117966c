import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { file_cri } from "@ocid/cri-api";
import { expect, test } from "vitest";
import { repository } from "../run.ts";

const document = readFileSync(join(repository, "docs/cri.md"), "utf8");

const fieldsOf = (message: string) =>
  file_cri.messages.find(({ name }) => name === message)?.fields.map(({ name }) => name);

/** Messages that share a section, and what stands in backticks at the beginning of its rows. */
const sections = document
  .split(/^### /m)
  .slice(1)
  .map(section => {
    const [heading = "", ...lines] = section.split("\n");
    const cells = lines.filter(line => line.startsWith("| `")).map(line => line.split("|")[1]!);
    return {
      messages: heading.split(",").map(name => name.trim()),
      rows: cells.flatMap(cell => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name!)),
    };
  });

test("each field of each message has its row", () => {
  for (const { name, fields } of file_cri.messages) {
    const rows = sections.find(({ messages }) => messages.includes(name))?.rows ?? [];
    if (name.startsWith("Windows")) expect(document, name).toContain(`\`${name}\``);
    else for (const field of fields) expect(rows, `${name}.${field.name}`).toContain(field.name);
  }
});

test("no row is of a field that does not exist", () => {
  for (const { messages, rows } of sections) {
    for (const message of messages) expect(fieldsOf(message), message).toBeDefined();
    const all = messages.flatMap(message => fieldsOf(message) ?? []);
    for (const name of rows) expect(all, messages.join()).toContain(name);
  }
});

test("each call has its row", () => {
  for (const { name, methods } of file_cri.services)
    for (const method of methods)
      expect(document, `${name}.${method.name}`).toContain(`| \`${method.name}\``);
});

test("each test that is named exists", () => {
  const files = [...document.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, file]) => file!);
  expect(files.length).toBeGreaterThan(20);
  for (const file of files) expect(existsSync(join(repository, file)), file).toBe(true);
});
