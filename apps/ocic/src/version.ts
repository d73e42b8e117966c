declare const OCID_VERSION: string | undefined;

/** Of the package, put in when it is bundled. */
export const version: string = typeof OCID_VERSION === "string" ? OCID_VERSION : "0.0.0-source";
