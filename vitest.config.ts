import { defineConfig } from "vitest/config";

// Slow machines (guests under emulation) are given more time.
const patience = Number(process.env["OCID_E2E_PATIENCE"] ?? 1);

// Two projects: `unit` needs neither root nor a network; `integration` drives the real parts and runs one file at
// a time, because mounts, namespaces and cgroups of the machine are shared.
const conditions = ["@ocid/source", "node", "import", "default"];

const oneAtATime = {
  fileParallelism: false,
  pool: "forks" as const,
  testTimeout: 120_000 * patience,
  hookTimeout: 120_000 * patience,
};

export default defineConfig({
  ssr: { resolve: { conditions, externalConditions: conditions } },
  resolve: { conditions },
  test: {
    globalSetup: ["./test/testkit/src/run-directory.ts"],
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: [
            "packages/*/src/**/*.test.ts",
            "apps/*/src/**/*.test.ts",
            "test/testkit/src/**/*.test.ts",
            "test/fuzz/src/**/*.test.ts",
            "bench/src/**/*.test.ts",
            "scripts/**/*.test.ts",
            "reference/src/**/*.test.ts",
          ],
          testTimeout: 20_000,
        },
      },
      {
        extends: true,
        test: {
          name: "integration",
          include: ["packages/*/test/**/*.test.ts", "apps/*/test/**/*.test.ts", "test/e2e/src/**/*.test.ts"],
          ...oneAtATime,
        },
      },
      // Needs a node of its own (CONTRIBUTING.md, "The lane under qemu").
      ...(process.env["OCID_LANE"]
        ? [
            {
              extends: true as const,
              test: { name: "lane", include: ["test/e2e/lane/**/*.test.ts"], ...oneAtATime },
            },
          ]
        : []),
      // Makes a Debian of its own from Debian's packages, which takes a minute and a mirror (npm run test:debian).
      ...(process.env["OCID_DEBIAN"]
        ? [
            {
              extends: true as const,
              test: { name: "debian", include: ["test/e2e/debian/**/*.test.ts"], ...oneAtATime },
            },
          ]
        : []),
    ],
  },
});
