// Filters and settings beside the results; on a phone the same nodes stand in a sheet.
import { $, $$, h, replace } from "./dom.js";
import { icon } from "./icons.js";
import { shortName } from "./format.js";
import { go } from "./store.js";

const MODES = [
  ["hybrid", "Hybrid", "By meaning and by words, the two rankings fused."],
  ["vector", "Meaning", "By what pages mean: vectors of the model."],
  ["text", "Words", "By the words on the pages: BM25 over the text layer."],
];
const COUNTS = [10, 20, 50, 100];
const DEPTHS = [10, 20, 50, 100];

let index = null;
const updates = [];

/** Builds the panel for what the index offers. */
export function build(facts) {
  index = facts;
  updates.length = 0;
  replace(
    $("#panel"),
    modes(),
    index.dimensions.length > 1 && dimensions(),
    index.reranker && reranking(),
    documents(),
    index.languages.length > 1 && short("langs", "Language", index.languages, languageName),
    index.kinds.length > 1 && short("kinds", "Kind of page", index.kinds, (kind) => kind),
    more(),
  );
  const narrow = matchMedia("(max-width: 900px)");
  const place = () => {
    $(narrow.matches ? "#sheet-body" : "#panel-place").append($("#panel"));
    if (!narrow.matches) $("#sheet").close();
  };
  narrow.addEventListener("change", place);
  place();
  replace($("#sheet-open"), icon("sliders"), h("span", {}, "Filters"));
  $("#sheet-open").addEventListener("click", () => $("#sheet").showModal());
}

/** Makes the controls say what the state says. */
export function update(state) {
  for (const one of updates) one(state);
  const set = state.docs.length + state.langs.length + state.kinds.length;
  const label = $("#sheet-open span");
  if (label) label.textContent = set ? `Filters (${set})` : "Filters";
}

function modes() {
  const hint = h("p", { class: "hint" });
  const group = h(
    "fieldset",
    {},
    h("legend", {}, "Search by"),
    h(
      "div",
      { class: "segmented" },
      MODES.map(([value, name]) =>
        h("label", {}, h("input", { type: "radio", name: "mode", value, class: "sr", on: { change: () => go({ mode: value }) } }), name),
      ),
    ),
    hint,
    balance(),
  );
  updates.push((state) => {
    $(`input[value="${state.mode}"]`, group).checked = true;
    hint.textContent = MODES.find(([value]) => value === state.mode)[2];
  });
  return group;
}

function balance() {
  const slider = h("input", { type: "range", class: "balance", id: "balance", min: 0, max: 1, step: 0.05, "aria-label": "Balance between words and meaning" });
  const told = () => {
    const value = Number(slider.value);
    slider.setAttribute("aria-valuetext", value === 0.5 ? "words and meaning equally" : `${Math.round(value * 100)}% meaning`);
  };
  slider.addEventListener("input", told);
  slider.addEventListener("change", () => go({ balance: Number(slider.value) }));
  const box = h("div", { class: "balance-box" }, slider, h("div", { class: "ends" }, h("span", {}, "Words"), h("span", {}, "Meaning")));
  updates.push((state) => {
    box.hidden = state.mode !== "hybrid";
    slider.value = state.balance;
    told();
  });
  return box;
}

function dimensions() {
  const steps = [...index.dimensions].sort((a, b) => a - b);
  const output = h("output", { for: "dims" });
  const slider = h("input", { type: "range", id: "dims", min: 0, max: steps.length - 1, step: 1 });
  const ticks = h("div", { class: "ticks", "aria-hidden": "true" }, steps.map((step) => h("span", {}, String(step))));
  const told = () => {
    const value = steps[slider.value];
    output.textContent = `${value} of ${steps.at(-1)}`;
    slider.setAttribute("aria-valuetext", `${value} dimensions`);
    slider.style.setProperty("--at", `${(100 * slider.value) / (steps.length - 1)}%`);
    $$("span", ticks).forEach((tick, at) => tick.toggleAttribute("data-on", at === Number(slider.value)));
  };
  slider.addEventListener("input", told);
  slider.addEventListener("change", () => {
    const chosen = steps[slider.value];
    go({ dims: chosen === steps.at(-1) ? null : chosen });
  });
  const group = h(
    "div",
    { class: "group" },
    h("label", { class: "label", for: "dims" }, "Dimensions", output),
    slider,
    ticks,
    h("p", { class: "hint" }, "Fewer take less memory and time, and may find other pages."),
  );
  updates.push((state) => {
    const at = steps.indexOf(state.dims ?? steps.at(-1));
    slider.value = at < 0 ? steps.length - 1 : at;
    slider.disabled = state.mode === "text";
    told();
  });
  return group;
}

function reranking() {
  const box = h("input", { type: "checkbox", role: "switch", id: "rerank", on: { change: () => go({ rerank: box.checked ? null : false }) } });
  const depth = h(
    "select",
    { id: "depth", on: { change: () => go({ depth: Number(depth.value) || null }) } },
    h("option", { value: "" }, "as set"),
    DEPTHS.map((count) => h("option", { value: count }, String(count))),
  );
  const row = h("label", { class: "row", for: "depth" }, "Pages it reads", depth);
  updates.push((state) => {
    box.checked = state.rerank !== false;
    row.hidden = !box.checked;
    depth.value = DEPTHS.includes(state.depth) ? state.depth : "";
  });
  return h(
    "div",
    { class: "group" },
    h("label", { class: "switch", for: "rerank" }, h("span", {}, "Rerank"), box),
    h("p", { class: "hint" }, `${shortName(index.reranker)} reads the best pages together with the question. Better, and slower.`),
    row,
  );
}

function documents() {
  const search = h("input", { type: "search", class: "filter-search", placeholder: `Find among ${index.documents.length}`, "aria-label": "Find a document" });
  const group = choices("docs", "Documents", index.documents.map(({ name, pages }) => [name, name, pages]));
  if (index.documents.length > 8) {
    $("legend", group).after(search);
    const none = h("p", { class: "hint", hidden: true }, "No document of that name.");
    group.append(none);
    search.addEventListener("input", () => {
      const wanted = search.value.trim().toLowerCase();
      let found = 0;
      for (const choice of $$(".choice", group)) {
        choice.hidden = !$("span", choice).textContent.toLowerCase().includes(wanted);
        found += !choice.hidden;
      }
      none.hidden = found > 0;
    });
  }
  return group;
}

function short(name, title, values, told) {
  const group = choices(name, title, values.map((value) => [value, told(value), null]));
  $(".choices", group).classList.add("short");
  return group;
}

/** Checkboxes; none ticked means all. */
function choices(name, title, values) {
  const clear = h("button", { type: "button", class: "clear", "aria-label": `${title}: clear`, on: { click: () => go({ [name]: [] }) } }, "Clear");
  const boxes = values.map(([value, told, count]) =>
    h(
      "label",
      { class: "choice", title: told },
      h("input", { type: "checkbox", value, on: { change: () => go({ [name]: boxes.map((one) => $("input", one)).filter((one) => one.checked).map((one) => one.value) }) } }),
      h("span", {}, told),
      count > 0 && h("small", {}, count.toLocaleString("en"), h("span", { class: "sr" }, " pages")),
    ),
  );
  updates.push((state) => {
    const chosen = new Set(state[name]);
    for (const one of boxes) $("input", one).checked = chosen.has($("input", one).value);
    clear.hidden = !chosen.size;
  });
  return h("fieldset", {}, h("legend", {}, title, clear), h("div", { class: "choices", tabindex: boxes.length > 8 ? "-1" : null }, boxes));
}

function more() {
  const count = h(
    "select",
    { id: "count", on: { change: () => go({ k: Number(count.value) }) } },
    COUNTS.map((value) => h("option", { value }, String(value))),
  );
  const version = h(
    "select",
    { id: "version", on: { change: () => go({ version: version.value === index.version ? null : version.value }) } },
    index.versions.map((name) => h("option", { value: name }, name === index.version ? `${name} (open)` : name)),
  );
  updates.push((state) => {
    if (!COUNTS.includes(state.k) && ![...count.options].some((one) => Number(one.value) === state.k)) {
      count.append(h("option", { value: state.k }, String(state.k)));
    }
    count.value = state.k;
    version.value = state.version ?? index.version;
  });
  return h(
    "div",
    { class: "group" },
    h("label", { class: "row", for: "count" }, "Pages to show", count),
    index.versions.length > 1 && h("label", { class: "row", for: "version" }, "Version", version),
  );
}

export function languageName(code) {
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}

