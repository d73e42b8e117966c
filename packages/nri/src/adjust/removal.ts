export interface Marked<T> {
  readonly key: string;
  /** Undefined for what is to be removed. */
  readonly value: T | undefined;
}

/** A name of an adjustment: one that begins with `-` asks for removal. */
export function unmark(name: string): { readonly key: string; readonly removed: boolean } {
  return name.startsWith("-") ? { key: name.slice(1), removed: true } : { key: name, removed: false };
}

export function marked<T>(entries: readonly T[], nameOf: (entry: T) => string): readonly Marked<T>[] {
  return entries.map(entry => {
    const { key, removed } = unmark(nameOf(entry));
    return { key, value: removed ? undefined : entry };
  });
}

export function markedMap<T>(entries: Readonly<Record<string, T>>): readonly Marked<T>[] {
  return marked(Object.entries(entries), ([name]) => name).map(({ key, value }) => ({
    key,
    value: value?.[1],
  }));
}

/** A list without what is removed or set anew, and with what is set. */
export function adjustList<T>(
  old: readonly T[],
  entries: readonly Marked<T>[],
  keyOf: (item: T) => string,
): readonly T[] {
  const touched = new Set(entries.map(({ key }) => key));
  return [
    ...old.filter(item => !touched.has(keyOf(item))),
    ...entries.flatMap(({ value }) => (value === undefined ? [] : [value])),
  ];
}

/** A map without what is removed, and with what is set. */
export function adjustMap<T>(
  old: Readonly<Record<string, T>>,
  entries: readonly Marked<T>[],
): Record<string, T> {
  const result = new Map(Object.entries(old));
  for (const { key, value } of entries) if (value === undefined) result.delete(key);
  for (const { key, value } of entries) if (value !== undefined) result.set(key, value);
  return Object.fromEntries(result);
}
