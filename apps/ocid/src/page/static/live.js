/** Without a word for so long the daemon counts as gone; it speaks every two seconds. */
const silenceMs = 10_000;
const againMs = 2_000;

/**
 * Follows the daemon, again and again.
 *
 * @param {object} listener
 * @param {readonly string[]} listener.sections
 * @param {(section: string, value: unknown) => void} listener.take
 * @param {(state: "live" | "lost") => void} listener.tell
 */
export function follow({ sections, take, tell }) {
  let heard = Date.now();
  /** @type {EventSource | undefined} */
  let source;
  const lose = () => {
    source?.close();
    source = undefined;
    tell("lost");
    setTimeout(open, againMs);
  };
  const open = () => {
    heard = Date.now();
    source = new EventSource("live");
    source.addEventListener("error", lose);
    const hear = () => {
      heard = Date.now();
      tell("live");
    };
    source.addEventListener("alive", hear);
    for (const section of sections)
      source.addEventListener(section, event => {
        hear();
        take(section, JSON.parse(event.data));
      });
  };
  // A daemon that hangs does not close its connections.
  setInterval(() => {
    if (source && Date.now() - heard > silenceMs) lose();
  }, 1_000);
  open();
}
