/** When hooks run (runtime-spec, config.md, "POSIX-platform Hooks"). */
export const hookKinds = [
  "prestart",
  "createRuntime",
  "createContainer",
  "startContainer",
  "poststart",
  "poststop",
] as const;
