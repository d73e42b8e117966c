import { OcidError } from "@ocid/base";
import { omitUndefined } from "./descriptor.ts";
import { Fields } from "./parse-json.ts";

/** What an image runs on, in Go's names (image-spec, image-index.md, "platform"). */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly "os.version"?: string;
  readonly "os.features"?: readonly string[];
}

export function parsePlatformObject(value: unknown, what: string): Platform {
  const fields = new Fields(value, what);
  return omitUndefined({
    os: fields.optionalString("os") ?? "",
    architecture: fields.optionalString("architecture") ?? "",
    variant: fields.optionalString("variant") || undefined,
    "os.version": fields.optionalString("os.version") || undefined,
    "os.features": fields.strings("os.features"),
  });
}

const goArchitectures: Readonly<Record<string, string>> = {
  x64: "amd64",
  ia32: "386",
  arm64: "arm64",
  arm: "arm",
  ppc64: "ppc64le",
  s390x: "s390x",
  riscv64: "riscv64",
  loong64: "loong64",
};

/** The machine's own platform, for images: Linux on machines that are not Windows. */
export function currentPlatform(): Platform {
  const architecture = goArchitectures[process.arch] ?? process.arch;
  return {
    os: process.platform === "win32" ? "windows" : "linux",
    architecture,
    ...(architecture === "arm" ? { variant: "v7" } : {}),
  };
}

/** Reads `os/architecture[/variant]`, for example `linux/arm64/v8`. */
export function parsePlatform(text: string): Platform {
  const [os, architecture, variant, ...rest] = text.split("/");
  if (!os || !architecture || rest.length > 0 || !/^[\w./-]+$/.test(text)) {
    throw new OcidError(
      "INVALID_ARGUMENT",
      `not a platform: ${JSON.stringify(text.slice(0, 100))} (expected os/architecture[/variant], for example linux/arm64)`,
    );
  }
  return { os, architecture: aliases[architecture] ?? architecture, ...(variant ? { variant } : {}) };
}

const aliases: Readonly<Record<string, string>> = {
  x86_64: "amd64",
  "x86-64": "amd64",
  aarch64: "arm64",
  i386: "386",
  armhf: "arm",
};

export function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter(Boolean).join("/");
}

/** Whether what runs on `offered` runs on `wanted`: exactly that platform, or an older variant of the same architecture. */
export function platformFits(offered: Platform, wanted: Platform): boolean {
  return rank(offered, wanted) !== undefined;
}

/** Of several, the place of the one that fits best; undefined when none fits. The first of equals wins, as in other tools. */
export function bestPlatform(
  offered: readonly (Platform | undefined)[],
  wanted: Platform,
): number | undefined {
  let best: { readonly at: number; readonly rank: number } | undefined;
  for (const [at, platform] of offered.entries()) {
    const score = platform && rank(platform, wanted);
    if (score !== undefined && (best === undefined || score < best.rank)) best = { at, rank: score };
  }
  return best?.at;
}

function rank(offered: Platform, wanted: Platform): number | undefined {
  if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) return undefined;
  if (wanted["os.version"] && offered["os.version"] && wanted["os.version"] !== offered["os.version"])
    return undefined;
  const fits = compatibleVariants(wanted);
  const at = fits.indexOf(variantOf(offered));
  return at === -1 ? undefined : at;
}

function variantOf(platform: Platform): string {
  if (platform.variant) return platform.variant;
  return platform.architecture === "arm64" ? "v8" : "";
}

function compatibleVariants(wanted: Platform): readonly string[] {
  const variant = variantOf(wanted);
  const number = Number(/^v(\d+)$/.exec(variant)?.[1]);
  if (wanted.architecture === "arm" && number)
    return [...Array.from({ length: number - 4 }, (_, older) => `v${number - older}`), ""];
  if (variant === "")
    return wanted.architecture === "amd64"
      ? ["", "v1"]
      : wanted.architecture === "arm"
        ? ["", "v7", "v6", "v5"]
        : [""];
  if (wanted.architecture === "amd64" && number)
    return [...Array.from({ length: number }, (_, older) => `v${number - older}`), ""];
  return [variant];
}
