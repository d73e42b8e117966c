import { setText } from "./cells.js";
import { doctor, events } from "./health.js";
import { images, pulls } from "./images.js";
import { follow } from "./live.js";
import { createSummary } from "./summary.js";
import { formatAge, formatTime, sum } from "./units.js";
import { containers, pods } from "./workloads.js";

/** @typedef {import("../sections.ts").Sections} Sections */

/** What the daemon has said last. @type {Partial<Sections>} */
const known = {};

const summarise = createSummary();

/** @type {{ [Name in keyof Sections]: () => void }} */
const shows = {
  node: showState,
  pods: showPods,
  containers: showContainers,
  usage() {
    showState();
    showPods();
    showContainers();
  },
  images: () => known.images && images.show(known.images.rows, known.images.total),
  store: () => {},
  pulls: () => known.pulls && pulls.show(known.pulls.rows, known.pulls.total),
  events: () => known.events && events.show(known.events.rows, known.events.total),
  doctor: showDoctor,
};

function showContainers() {
  if (!known.containers) return;
  const { at = 0, containers: uses = {}, networks = {} } = known.usage ?? {};
  const rows = known.containers.rows.map(row => ({
    ...row,
    at,
    use: uses[row.id],
    network: networks[row.podId],
  }));
  containers.show(rows, known.containers.total);
}

function showPods() {
  if (!known.pods) return;
  const uses = known.usage?.containers ?? {};
  const all = known.containers?.rows ?? [];
  const rows = known.pods.rows.map(row => {
    const own = all.flatMap(({ id, podId }) => (podId === row.id && uses[id] ? [uses[id]] : []));
    return {
      ...row,
      cpuPercent: sum(0, ...own.map(use => use.cpuPercent)),
      memoryBytes: own.reduce((total, use) => total + use.memoryBytes, 0),
    };
  });
  pods.show(rows, known.pods.total);
}

function showDoctor() {
  if (!known.doctor) return;
  const { findings, failure, checkedAt } = known.doctor;
  doctor.show(findings.rows, findings.total);
  const note = /** @type {HTMLElement} */ (document.querySelector("#doctor .empty"));
  if (findings.total > 0) return;
  setText(note, failure ?? `This node is well (${formatTime(checkedAt)}).`);
}

/** @type {"connecting" | "live" | "lost"} */
let connection = "connecting";
let lostAt = 0;

function showState() {
  const { name = "ocid", version, startedAt, problems = [] } = known.node ?? {};
  const state =
    connection !== "live"
      ? connection
      : known.node === undefined
        ? "connecting"
        : problems.length === 0
          ? "ready"
          : "not ready";
  const mark = byId("state");
  setText(mark, state);
  mark.dataset["state"] = state;
  setText(byId("node-name"), name);
  if (version !== undefined && startedAt !== undefined)
    setText(byId("about"), `ocid ${version}, up ${formatAge(startedAt)}`);
  document.title = `${name}: ${state}`;
  document.body.classList.toggle("lost", connection === "lost");
  const trouble = byId("trouble");
  setText(trouble, connection === "lost" ? lossText() : problems.join(". "));
  trouble.hidden = trouble.textContent === "";
}

function lossText() {
  if (!known.node) return "The daemon does not answer, or too many pages are open already; trying again.";
  return `The daemon does not answer since ${formatTime(lostAt)}. What is below is as it was then; trying again.`;
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

const filter = /** @type {HTMLInputElement} */ (byId("filter"));
filter.addEventListener("input", () => {
  for (const table of [containers, pods, images, pulls, doctor, events]) table.filter(filter.value);
});
document.addEventListener("keydown", event => {
  if (
    event.key === "/" &&
    document.activeElement !== filter &&
    !event.ctrlKey &&
    !event.metaKey &&
    !event.altKey
  ) {
    event.preventDefault();
    filter.select();
  } else if (event.key === "Escape" && document.activeElement === filter) {
    filter.value = "";
    filter.dispatchEvent(new Event("input"));
    filter.blur();
  }
});

summarise(known);
follow({
  sections: Object.keys(shows),
  take(section, value) {
    Object.assign(known, { [section]: value });
    shows[/** @type {keyof Sections} */ (section)]();
    summarise(known);
  },
  tell(state) {
    if (state === connection) return;
    connection = state;
    if (state === "lost") lostAt = Date.now();
    showState();
  },
});
