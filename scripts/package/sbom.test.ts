import { Spec, Validation } from "@cyclonedx/cyclonedx-library";
import { expect, test } from "vitest";
import { sbomOf } from "./sbom.ts";

interface Component {
  readonly name: string;
  readonly version: string;
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
  readonly licenses: readonly unknown[];
}

test.each(["ocid", "ocic"])(
  "the bill of materials of %s is valid, and has what is really inside",
  async app => {
    const text = await sbomOf(app);
    expect(await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text)).toBeNull();
    const { metadata, components } = JSON.parse(text) as {
      metadata: { component: Component };
      components: readonly Component[];
    };
    expect(metadata.component.name).toBe(app);
    const names = components.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["node", "@ocid/storage", "smol-toml", "yaml"]));
    expect(names).toContainEqual(expect.stringMatching(/^@koromix\/koffi-linux-/));
    expect(names).not.toContain("typescript");
    for (const { name, version, hashes, licenses } of components) {
      expect(version, name).toMatch(/^\d+\.\d+\.\d+/);
      expect(licenses, name).toHaveLength(1);
      if (!name.startsWith("@ocid/")) expect(hashes?.[0]?.content, name).toMatch(/^[0-9a-f]{64,128}$/);
    }
  },
  120_000,
);
