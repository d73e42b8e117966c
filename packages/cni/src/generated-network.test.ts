import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { generatedFile, generateNetwork, parsePodCidrs } from "./generated-network.ts";

let directory: string;
let template: string;
let configDir: string;

const bridge = `{
  "name": "pods", "cniVersion": "1.0.0",
  "plugins": [{
    "type": "bridge",
    "ipam": {
      "type": "host-local",
      "ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],
      "routes": [{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}]
    }
  }]
}`;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cni-"));
  template = join(directory, "template");
  configDir = join(directory, "net.d");
  writeFileSync(template, bridge);
});
afterEach(() => rmSync(directory, { recursive: true }));

const ipam = () => JSON.parse(readFileSync(join(configDir, generatedFile), "utf8")).plugins[0].ipam;

describe("the network's configuration", () => {
  test("is made of the template, for one family or both, and again when the ranges change", async () => {
    expect(await generateNetwork(configDir, template, ["10.1.0.0/16"])).toBe("written");
    expect(ipam()).toMatchObject({
      ranges: [[{ subnet: "10.1.0.0/16" }]],
      routes: [{ dst: "0.0.0.0/0" }],
    });
    expect(statSync(join(configDir, generatedFile)).mode & 0o777).toBe(0o644);
    expect(await generateNetwork(configDir, template, ["10.1.0.0/16"])).toBe("unchanged");
    expect(await generateNetwork(configDir, template, ["fd00::/64", "10.2.0.0/16"])).toBe("written");
    expect(ipam()).toMatchObject({
      ranges: [[{ subnet: "fd00::/64" }], [{ subnet: "10.2.0.0/16" }]],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    });
    expect(readdirSync(configDir)).toEqual([generatedFile]);
  });

  test("is left to an operator who has put a valid one there; one that is none does not count", async () => {
    await generateNetwork(configDir, template, ["10.1.0.0/16"]);
    writeFileSync(join(configDir, "05-own.conflist"), "{}");
    expect(await generateNetwork(configDir, template, ["10.2.0.0/16"])).toBe("written");
    writeFileSync(join(configDir, "05-own.conflist"), '{"name": "own", "plugins": [{"type": "ptp"}]}');
    expect(await generateNetwork(configDir, template, ["10.3.0.0/16"])).toBe("configured by an operator");
    expect(ipam()).toMatchObject({ ranges: [[{ subnet: "10.2.0.0/16" }]] });
  });

  test.each([
    ["{{.Nothing}}", "FAILED_PRECONDITION|INVALID_ARGUMENT", "has no .Nothing"],
    ["{", "INVALID_ARGUMENT", "gives no valid network configuration"],
    ['{"name": "x", "plugins": []}', "INVALID_ARGUMENT", "names no plugins"],
  ])("of a template like %s is refused, and nothing is written", async (text, code, message) => {
    writeFileSync(template, text);
    const failure = await generateNetwork(configDir, template, ["10.1.0.0/16"]).catch(error => error);
    expect(failure.message).toContain(message);
    expect(failure.code).toMatch(new RegExp(`^(${code})$`));
    expect(() => readdirSync(configDir)).toThrow("ENOENT");
  });

  test("of a template that is not there says which", async () => {
    await expect(generateNetwork(configDir, join(directory, "none"), ["10.1.0.0/16"])).rejects.toThrow(
      `network template ${join(directory, "none")}: `,
    );
  });
});

test.each(["10.1.0.0/16", "fd00::/64", " 10.1.0.0/16 , fd00::/48"])("%s are ranges of pods", text => {
  expect(parsePodCidrs(text).every(cidr => /^\S+\/\d+$/.test(cidr))).toBe(true);
});

test.each(["", "10.1.0.0", "10.1.0.0/33", "10.1.0.0/16/1", "x/1", '10.1.0.0/16"', "10.1.0.0/16,"])(
  "%j is none",
  text => {
    expect(() => parsePodCidrs(text)).toThrow("not an address range of pods");
  },
);
