import { expect, test } from "vitest";
import { codeBlocks } from "./code-blocks.ts";

test("TypeScript blocks are found with the line of their fence", () => {
  const document = "# A\n\n```sh\nls\n```\n\n```ts\nlet a = 1;\n\na = 2;\n```\n\n```ts\n```\n";
  expect(codeBlocks(document, "a.md")).toEqual([
    { line: 7, text: "let a = 1;\n\na = 2;\n" },
    { line: 13, text: "" },
  ]);
});

test("code that nobody would check is refused with its place", () => {
  expect(() => codeBlocks("text\n```js\nlet a;\n```\n", "docs/a.md")).toThrow(
    "docs/a.md:2: write code as ```ts",
  );
});
