/** Those of a pod's or container's annotations that its runtime handler is told: by name, or by a beginning and `*`. */
export function allowedAnnotations(
  patterns: readonly string[],
  annotations: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(annotations).filter(([name]) =>
      patterns.some(pattern =>
        pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
      ),
    ),
  );
}
