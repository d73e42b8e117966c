import type { NriOptions, ValidatorOptions } from "@ocid/nri";
import type { Config } from "./config/config-schema.ts";

/** The settings of `[nri]` as the plugins' side takes them. */
export function nriOptions({ nri }: Config): Omit<NriOptions, "runtime" | "logger"> {
  return {
    socketPath: nri.disable_connections ? undefined : nri.socket,
    pluginPath: nri.plugin_path,
    pluginConfigPath: nri.plugin_config_path,
    registrationTimeoutMs: Math.max(1, nri.plugin_registration_timeout) * 1000,
    requestTimeoutMs: Math.max(1, nri.plugin_request_timeout) * 1000,
    validator: nri.default_validator ? validatorOptions(nri) : undefined,
  };
}

function validatorOptions(nri: Config["nri"]): ValidatorOptions {
  const annotation = nri.tolerate_missing_plugins_annotation;
  return {
    rejectHooks: nri.reject_oci_hook_adjustment,
    rejectNamespaces: nri.reject_namespace_adjustment,
    rejectSysctls: nri.reject_sysctl_adjustment,
    rejectSeccomp: [
      ...(nri.reject_runtime_default_seccomp_adjustment ? (["runtime-default"] as const) : []),
      ...(nri.reject_unconfined_seccomp_adjustment ? (["unconfined"] as const) : []),
      ...(nri.reject_custom_seccomp_adjustment ? (["localhost"] as const) : []),
    ],
    requiredPlugins: nri.required_plugins,
    ...(annotation === "" ? {} : { tolerateMissingAnnotation: annotation }),
  };
}
