import { node } from "../run.ts";
import { foreignPackage } from "./foreign-package.ts";
import { koffiBinary } from "./koffi-binary.ts";

/** The machine that an executable is for. */
export interface BuildTarget {
  /** As `process.arch` has it. */
  readonly architecture: string;
  /** The Node that becomes the executable. */
  readonly node: string;
  /** The native half of koffi. */
  readonly koffi: string;
  /** Whether it runs here, so that what V8 compiles here is of use there. */
  readonly isNative: boolean;
}

export const nativeTarget = (): BuildTarget => ({
  architecture: process.arch,
  node,
  koffi: koffiBinary(),
  isNative: true,
});

/** Node's package is none of the lock file's, because the one for this machine installs itself. */
export const nodePackages: Readonly<
  Record<string, { readonly version: string; readonly integrity: string }>
> = {
  arm64: {
    version: "26.10.0",
    integrity:
      "sha512-idArV/cmqW9M9ODyGlbOIiyxFourDh1mJB0SdKCdMbSZjjef9CLEN3o1/eE4yf+B0+5BD+F74MpTTHiB3XXTBQ==",
  },
};

/** The target of another architecture, with what it needs fetched from npm and compared with its integrity. */
export async function targetFor(architecture: string): Promise<BuildTarget> {
  if (architecture === process.arch) return nativeTarget();
  const wanted = nodePackages[architecture];
  if (!wanted)
    throw new Error(
      `no executables for ${architecture} (known: ${[process.arch, ...Object.keys(nodePackages)].join(", ")})`,
    );
  if (`v${wanted.version}` !== process.version)
    throw new Error(
      `Node is ${process.version}, and the one for ${architecture} is ${wanted.version}: name its integrity in scripts/build/target.ts`,
    );
  const [nodeFolder, koffiFolder] = await Promise.all([
    foreignPackage(`node-linux-${architecture}`, wanted),
    foreignPackage(`@koromix/koffi-linux-${architecture}`),
  ]);
  return {
    architecture,
    node: `${nodeFolder}/bin/node`,
    koffi: `${koffiFolder}/linux_${architecture}/koffi.node`,
    isNative: false,
  };
}
