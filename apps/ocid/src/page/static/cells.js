// What tables are made of. Texts are only ever set as texts: names of pods and images come from anybody.

/**
 * A part of a row, made once and brought up to date.
 *
 * @template Row
 * @typedef {{ element: HTMLElement, update(row: Row): void }} Cell
 */

/**
 * @param {keyof HTMLElementTagNameMap} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElement}
 */
export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className !== "") made.className = className;
  if (text !== "") made.textContent = text;
  return made;
}

/**
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Readonly<Record<string, string>>} attributes
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function svg(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/**
 * Sets a text only when it has changed, so that a selection of it stays.
 *
 * @param {HTMLElement} target
 * @param {string} text
 */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * A text, with a smaller one below it where there is one.
 *
 * @template Row
 * @param {(row: Row) => string} read
 * @param {(row: Row) => string} [readMore]
 * @returns {() => Cell<Row>}
 */
export function textCell(read, readMore = () => "") {
  return () => {
    const text = element("span", "text");
    const more = element("small");
    const cell = element("div", "words");
    cell.append(text, more);
    return {
      element: cell,
      update(row) {
        setText(text, read(row));
        setText(more, readMore(row));
        more.hidden = more.textContent === "";
      },
    };
  };
}

/**
 * A state as a word with a colour of its own.
 *
 * @template Row
 * @param {(row: Row) => string} read
 * @param {(row: Row) => "good" | "bad" | "off"} judge
 * @param {(row: Row) => string} [readMore]
 * @returns {() => Cell<Row>}
 */
export function stateCell(read, judge, readMore = () => "") {
  const make = textCell(read, readMore);
  return () => {
    const cell = make();
    cell.element.classList.add("mark");
    return {
      element: cell.element,
      update(row) {
        cell.update(row);
        cell.element.dataset["mark"] = judge(row);
      },
    };
  };
}

/**
 * A share as a bar, with a text.
 *
 * @template Row
 * @param {string} label said aloud
 * @param {(row: Row) => number | undefined} share from 0 to 1; undefined where it is not known
 * @param {(row: Row) => string} read
 * @returns {() => Cell<Row>}
 */
export function barCell(label, share, read) {
  return () => {
    const bar = /** @type {HTMLProgressElement} */ (element("progress"));
    bar.setAttribute("aria-label", label);
    bar.max = 1;
    const text = element("span", "text");
    const cell = element("div", "bar");
    cell.append(bar, text);
    return {
      element: cell,
      update(row) {
        const value = share(row);
        if (value === undefined) bar.removeAttribute("value");
        else bar.value = value;
        setText(text, read(row));
      },
    };
  };
}
