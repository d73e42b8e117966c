import type { CommandSpec } from "./program-spec.ts";

/** Every command with the words that lead to it: `[]` is the program itself. */
function paths(
  spec: CommandSpec,
  path: readonly string[] = [],
): { path: readonly string[]; spec: CommandSpec }[] {
  return [{ path, spec }, ...spec.commands.flatMap(child => paths(child, [...path, child.name]))];
}

/** What may be typed at a command: commands below it, its options, and those of the program. */
function wordsAt(root: CommandSpec, spec: CommandSpec): { word: string; description: string }[] {
  const options = spec === root ? root.options : [...spec.options, ...root.options];
  return [
    ...spec.commands.map(({ name, description }) => ({ word: name, description })),
    ...options.map(({ long, description }) => ({ word: long, description })),
  ];
}

/** Completion for bash; what is none of our words is completed as a file. */
export function bashCompletion(root: CommandSpec): string {
  const cases = paths(root).map(({ path, spec }) => {
    const words = wordsAt(root, spec).map(({ word }) => word);
    return `    ${quoted(path.join(" "))}) printf '%s ' ${words.join(" ")} ;;`;
  });
  const name = root.name;
  return `# bash completion for ${name}
_${name}_words() {
  case "$1" in
${cases.join("\n")}
  esac
}
_${name}() {
  local word next path="" current="\${COMP_WORDS[COMP_CWORD]}"
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    next="\${path:+$path }$word"
    [ -n "$(_${name}_words "$next")" ] && path="$next"
  done
  COMPREPLY=($(compgen -W "$(_${name}_words "$path")" -- "$current"))
}
complete -o default -F _${name} ${name}
`;
}

/** Completion for zsh, with descriptions. */
export function zshCompletion(root: CommandSpec): string {
  const cases = paths(root).map(({ path, spec }) => {
    const words = wordsAt(root, spec).map(
      ({ word, description }) => `      ${quoted(`${word.replaceAll(":", "\\:")}:${description}`)}`,
    );
    return `    ${quoted(path.join(" "))}) reply=(\n${words.join("\n")}\n    ) ;;`;
  });
  const name = root.name;
  return `#compdef ${name}
_${name}_words() {
  reply=()
  case "$1" in
${cases.join("\n")}
  esac
}
_${name}() {
  local word path="" reply
  for word in \${words[2,CURRENT-1]}; do
    _${name}_words "\${path:+$path }$word"
    (( \${#reply} )) && path="\${path:+$path }$word"
  done
  _${name}_words "$path"
  _describe -o ${name} reply || _files
}
compdef _${name} ${name}
`;
}

/** Completion for fish, with descriptions. */
export function fishCompletion(root: CommandSpec): string {
  const name = root.name;
  const lines = [`# fish completion for ${name}`];
  for (const { path, spec } of paths(root)) {
    const seen = path.map(word => `__fish_seen_subcommand_from ${word}`).join("; and ");
    const here =
      path.length === 0
        ? "__fish_use_subcommand"
        : spec.commands.length === 0
          ? seen
          : `${seen}; and not __fish_seen_subcommand_from ${spec.commands.map(child => child.name).join(" ")}`;
    for (const child of spec.commands)
      lines.push(
        `complete -c ${name} -n ${quoted(here)} -f -a ${child.name} -d ${quoted(child.description)}`,
      );
    for (const option of spec.options) {
      const when = path.length === 0 ? "" : ` -n ${quoted(seen)}`;
      const short = option.short === undefined ? "" : ` -s ${option.short.slice(1)}`;
      const value = !option.takesValue
        ? ""
        : option.choices.length > 0
          ? ` -x -a ${quoted(option.choices.join(" "))}`
          : " -r";
      lines.push(
        `complete -c ${name}${when}${short} -l ${option.long.slice(2)}${value} -d ${quoted(option.description)}`,
      );
    }
  }
  return `${lines.join("\n")}\n`;
}

/** A word for a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
