import { expect, test } from "vitest";
import { fillTemplate } from "./go-template.ts";

const fields = { PodCIDR: "10.1.0.0/16", PodCIDRRanges: ["10.1.0.0/16", "fd00::/64"], Routes: ["0.0.0.0/0"] };

test.each([
  ["{{.PodCIDR}} and {{ .PodCIDR }}", "10.1.0.0/16 and 10.1.0.0/16"],
  ["{{range .PodCIDRRanges}}<{{.}}>{{end}}", "<10.1.0.0/16><fd00::/64>"],
  ["{{range $i, $r := .PodCIDRRanges}}{{if $i}}, {{end}}{{$r}}{{end}}", "10.1.0.0/16, fd00::/64"],
  ["{{range $r := .Routes}}{{$r}}{{else}}none{{end}}", "0.0.0.0/0"],
  ["a {{- /* a comment */ -}} b", "ab"],
  ["a  {{- .PodCIDR -}}\n  b", "a10.1.0.0/16b"],
  ["{{index .PodCIDRRanges 1}} of {{len .PodCIDRRanges}}", "fd00::/64 of 2"],
  ['{{if eq .PodCIDR ""}}x{{else if not .Routes}}y{{else}}z{{end}}', "z"],
  ['{{"a }} b"}}', "a }} b"],
  ["no action", "no action"],
])("%s", (template, text) => {
  expect(fillTemplate(template, fields)).toBe(text);
});

test("an empty list takes the else of a range", () => {
  expect(fillTemplate("{{range .Routes}}x{{else}}none{{end}}", { ...fields, Routes: [] })).toBe("none");
});

test.each([
  ["{{.Missing}}", "a template has no .Missing here"],
  ["a\nb {{ printf .PodCIDR }}", "line 2: not understood: {{printf .PodCIDR}}"],
  ["{{.PodCIDR | html}}", "line 1: not understood"],
  ["{{range .PodCIDRRanges}}", "an if or range has no end"],
  ["{{end}}", "line 1: end belongs to nothing"],
  ["{{.PodCIDR", "an action is not closed"],
  ["{{range .PodCIDR}}x{{end}}", "a range is over a list"],
  ["{{index .Routes 4}}", "there is nothing at index .Routes 4"],
  ["{{range .Routes}}{{.PodCIDR}}{{end}}", "a template has no .PodCIDR here"],
  ["{{$x}}", "a template has no $x here"],
  ["{{.constructor}}", "a template has no .constructor here"],
  ["{{toString}}", "line 1: not understood: {{toString}}"],
  ['a\n{{if eq .PodCIDR "\0"}}x{{end}}', "line 2: not understood: {{eq .PodCIDR"],
  ['{{"\\x41"}}', "line 1: not understood"],
])("%s is refused", (template, message) => {
  expect(() => fillTemplate(template, fields)).toThrow(message);
});

test("no text makes it slow: an open quote in a long action", () => {
  expect(() => fillTemplate(`{{${'"a '.repeat(20_000)}`, fields)).toThrow("not closed");
});
