// The models view: the runs, one run, or several beside each other.
import { call } from "./api.js";
import { interval, rangeOf } from "./charts.js";
import { showComparison } from "./comparison.js";
import { $, announce, h, replace } from "./dom.js";
import { icon } from "./icons.js";
import { VIEWS, day, decimal, metricName, plural, shortName, signed } from "./format.js";
import { failure, told } from "./results.js";
import { showRun } from "./run.js";
import { followed, fresh, go, link } from "./store.js";

const chosen = new Set();
let loading = null;

export async function draw(state, before) {
  if (before?.view === "models" && String(before.runs) === String(state.runs)) return;
  document.title = state.runs.length ? `${state.runs.join(", ")} \u2013 Sightline` : "Models \u2013 Sightline";
  loading?.abort();
  const { signal } = (loading = new AbortController());
  const view = $("#models-view");
  replace(view, h("div", { class: "told", "aria-busy": "true" }, h("p", {}, "Loading \u2026")));
  try {
    const content = await contentOf(state.runs, signal);
    if (signal.aborted) return;
    replace(view, state.runs.length > 0 && back(), content);
    scrollTo(0, 0);
    announce($("h1", view)?.textContent ?? "Models");
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    const again = () => draw(state, null);
    replace(view, state.runs.length > 0 && back(), error.status === 404 && !state.runs.length ? nowhere() : failure(error, again));
  }
}

async function contentOf(names, signal) {
  const run = async (name) => {
    const found = await call(`/v1/runs/${encodeURIComponent(name)}`, { signal });
    return { ...found.summary, ...found };
  };
  if (names.length === 1) return showRun(await run(names[0]));
  if (names.length === 0) return listOf((await call("/v1/runs", { signal })).runs);
  const query = new URLSearchParams(names.map((name) => ["run", name]));
  const [found, ...runs] = await Promise.all([call(`/v1/comparison?${query}`, { signal }), ...names.map(run)]);
  return showComparison(found, runs);
}

function back() {
  const place = { runs: [] };
  return h("a", { class: "back", href: link(place), on: { click: (event) => followed(event, place) } }, icon("left"), "All runs");
}

function nowhere() {
  return told("layers", "No runs to show", h("span", {}, "Start the service with the folder that trainings write to: ", h("code", {}, "sightline serve INDEX --runs runs"), "."));
}

function listOf(runs) {
  if (!runs.length) {
    return told("layers", "No runs yet", h("span", {}, "A run appears here as soon as ", h("code", {}, "sightline train"), " has begun it in this folder."));
  }
  for (const name of chosen) if (!runs.some((run) => run.name === name)) chosen.delete(name);
  const range = rangeOf(runs.filter((run) => run.change).map((run) => run.change));
  const bar = h("div", { class: "compare-bar", role: "group", "aria-label": "Compare the chosen runs", hidden: true });
  const changed = () => compareBar(bar, runs);
  changed();
  return [
    h("h1", {}, "Models"),
    h("p", { class: "lead" }, `${plural(runs.length, "training run")}, newest first, each measured on questions about documents it has not seen in training. Choose several to compare them.`),
    h("ul", { class: "runs" }, runs.map((run) => card(run, range, changed))),
    bar,
  ];
}

function card(run, range, changed) {
  const place = { runs: [run.name] };
  const box = h("input", {
    type: "checkbox",
    "aria-label": `Choose ${run.name} to compare it`,
    disabled: run.status !== "finished",
    set: { checked: chosen.has(run.name) },
    on: {
      change: () => {
        if (box.checked) chosen.add(run.name);
        else chosen.delete(run.name);
        changed();
      },
    },
  });
  return h(
    "li",
    { class: "run" },
    box,
    h(
      "div",
      {},
      h("h2", {}, h("a", { href: link(place), on: { click: (event) => followed(event, place) } }, run.name)),
      h("p", { class: "sub" }, run.model && `from ${shortName(run.model)}`),
      h("p", { class: "sub" }, [run.dataset && `on ${run.dataset}`, day(run.created)].filter(Boolean).join(" \u00b7 ")),
    ),
    ...figures(run, range),
  );
}

function figures(run, range) {
  if (run.status === "unreadable") return [h("p", { class: "wide-told" }, h("span", { class: "tag warn" }, "cannot be read"), " ", run.problem)];
  if (run.status === "unfinished") {
    const steps = run.step ? ` Step ${run.step.toLocaleString("en")}${run.max_steps ? ` of ${run.max_steps.toLocaleString("en")}` : ""} is saved.` : "";
    return [h("p", { class: "wide-told" }, h("span", { class: "tag info" }, "not finished"), steps)];
  }
  const { change, metric } = run;
  if (!change) {
    return [h("p", { class: "change" }, h("span", { class: "to" }, decimal(run.value)), h("span", { class: "sub" }, metricName(metric)))];
  }
  const verdict = `${signed(change.difference)} (${signed(change.low)} to ${signed(change.high)})`;
  return [
    h(
      "div",
      {},
      h("p", { class: "change" }, h("span", { class: "from" }, decimal(change.before)), h("span", { class: "arrow", "aria-label": "to" }, "\u2192"), h("span", { class: "to" }, decimal(change.after))),
      h("p", { class: "sub" }, `${metricName(metric)}, ${VIEWS[change.fields] ?? change.fields}`),
    ),
    h("div", {}, interval(change, range, `difference ${verdict}`), h("p", { class: "sub" }, verdict)),
  ];
}

/** What is chosen, and whether it can be compared. */
function compareBar(bar, runs) {
  const names = runs.map((run) => run.name).filter((name) => chosen.has(name));
  bar.hidden = !names.length;
  const data = new Set(runs.filter((run) => chosen.has(run.name)).map((run) => run.fingerprint));
  const told = names.length < 2 ? "Choose another run to compare with" : data.size > 1 ? `${names.length} runs, measured on different data` : `${names.length} runs on the same data`;
  const clear = () => {
    chosen.clear();
    for (const box of document.querySelectorAll(".run input")) box.checked = false;
    bar.hidden = true;
  };
  const place = fresh({ view: "models", runs: names });
  replace(
    bar,
    h("span", {}, told),
    h("span", {}, h("button", { type: "button", class: "quiet", on: { click: clear } }, "Clear"), names.length > 1 && h("button", { type: "button", class: "primary", on: { click: () => go(place) } }, "Compare")),
  );
}
