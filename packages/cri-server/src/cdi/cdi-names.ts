import type { ContainerConfig } from "@ocid/cri-api";

const annotationPrefix = "cdi.k8s.io/";

/** CDI devices that a container asks for: by its field, or by annotations, as older device plugins do. */
export function cdiNames(config: ContainerConfig): readonly string[] {
  const annotated = Object.entries(config.annotations)
    .filter(([key]) => key.startsWith(annotationPrefix))
    .flatMap(([, value]) => value.split(",").map(name => name.trim()))
    .filter(name => name !== "");
  return [...new Set([...config.CDIDevices.map(device => device.name), ...annotated])];
}
