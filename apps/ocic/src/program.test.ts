import { expect, test } from "vitest";
import { createProgram } from "./program.ts";

test("every command is found by its own word", async () => {
  const all = (await createProgram([])).commands.map(command => command.name());
  expect(all.length).toBeGreaterThan(20);
  for (const name of all) {
    const { commands } = await createProgram(["--root", "/r", name, "--json"]);
    expect(commands.map(command => command.name())).toContain(name);
    expect(commands.length).toBeLessThan(all.length);
  }
});
