import { expect, test } from "vitest";
import { runtimeMessage } from "./runtime-message.ts";

test.each([
  [
    'time="2026-01-02T03:04:05Z" level=error msg="runc create failed: exec: \\"nope\\": executable file not found in $PATH"\n',
    'runc create failed: exec: "nope": executable file not found in $PATH',
  ],
  ['{"level":"error","msg":"no such file","time":"2026-01-02T03:04:05Z"}', "no such file"],
  ["time=2026-01-02T03:04:05Z level=error msg=failed", "failed"],
  ["container does not exist", "container does not exist"],
  ['time="x" level=warning msg="first"\n\nsecond\n', "first; second"],
  ["{not json", "{not json"],
  ["", ""],
])("of %j is %j", (text, message) => expect(runtimeMessage(text)).toBe(message));
