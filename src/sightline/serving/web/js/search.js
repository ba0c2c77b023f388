// The search view: from the state to an answer, from an answer to the list.
import { call } from "./api.js";
import { questionKey, searchKey } from "./address.js";
import { $, $$, announce, h, replace } from "./dom.js";
import { noneOfThese, session } from "./feedback.js";
import { icon } from "./icons.js";
import { milliseconds, plural } from "./format.js";
import * as panel from "./panel.js";
import * as picture from "./picture.js";
import { failure, foundTold, result, skeletons, told } from "./results.js";
import { current, fresh, go } from "./store.js";
import { compare, timingBar, tradeLine } from "./tradeoff.js";

const LAYOUT = "sightline-layout";
const REMEMBERED = 30;

let index = null;
let running = null;
let shown = null;
const answers = new Map();

/** The answer in the list, or null. */
export const answerShown = () => shown?.answer ?? null;

export function build(facts) {
  index = facts;
  panel.build(index);
  picture.dress();
  const images = index.query_modalities.includes("image");
  $("#picture-choose").hidden = !images;
  replace($("#clear"), icon("close"));
  const wide = matchMedia("(min-width: 561px)").matches;
  $("#q").placeholder = `Ask a question${wide ? (images ? ", or drop an image" : ", or name what you remember") : ""}`;
  $("#hero-told").textContent = `${plural(index.pages, "page")} in ${plural(index.documents.length, "document")}, found by what they mean, by their words${images ? ", or by an image" : ""}.`;
  picture.listen((name) => go({ ...fresh({ ...filters(), q: $("#q").value.trim(), image: name }), mode: current().mode === "text" ? "hybrid" : current().mode }), () => images);
  $("#search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  $("#q").addEventListener("input", tidy);
  $("#clear").addEventListener("click", () => {
    go(fresh({ ...filters() }));
    $("#q").focus();
  });
  $("#picture-away").addEventListener("click", () => go({ image: null, page: null }));
  for (const button of $$("[data-layout]", $(".found-head"))) {
    replace(button, icon(button.dataset.layout));
    button.addEventListener("click", () => layOut(button.dataset.layout));
  }
  layOut(localStorage.getItem(LAYOUT) ?? "list");
  addEventListener("online", () => shown?.error?.offline && draw(current(), null));
}

/** Draws what the state says; asks the service where its answer is not there yet. */
export function draw(state, before) {
  if (!before || before.q !== state.q) $("#q").value = state.q;
  picture.showPicture(state.image);
  tidy();
  panel.update(state);
  chips(state);
  const asked = Boolean(state.q.trim() || state.image);
  document.body.toggleAttribute("data-home", !asked);
  $("#covers").hidden = asked;
  document.title = state.q ? `${state.q} \u2013 Sightline` : "Sightline";
  if (!asked) {
    running?.abort();
    shown = null;
    clear();
    return;
  }
  const key = searchKey(state);
  if (shown?.key === key && !shown.error) return;
  const known = answers.get(key);
  if (known) show({ ...known, state });
  else ask(state, key);
}

function submit() {
  const q = $("#q").value.trim();
  const state = current();
  if (!q && !state.image) return $("#q").focus();
  answers.delete(searchKey({ ...state, q }));
  if (q === state.q.trim()) shown = null;
  go({ q, page: null, heat: false }, { instead: q === state.q.trim() });
  if (matchMedia("(max-width: 900px)").matches) $("#q").blur();
}

async function ask(state, key) {
  running?.abort();
  const control = (running = new AbortController());
  const image = state.image && picture.pictureOf(state.image);
  if (state.image && !image) {
    waiting(false);
    shown = { key, state, answer: null };
    clear();
    return replace($("#state"), told("image", "This search was made with an image", "It stays in the browser that it was given to. Choose or drop it again, or search with words."));
  }
  // A quick answer comes without a flash of empty places.
  const patience = setTimeout(() => waiting(true), 120);
  try {
    const answer = await call("/v1/search", { body: request(state, image), signal: control.signal });
    remember(key, { key, state, answer });
    show({ key, state, answer });
  } catch (error) {
    if (error.name === "AbortError") return;
    shown = { key, state, answer: null, error };
    clear();
    announce(error.message);
    replace($("#state"), failure(error, () => running === control && ask(current(), key)));
  } finally {
    clearTimeout(patience);
    if (running === control) waiting(false);
  }
}

function request(state, image) {
  const filtered = state.docs.length || state.langs.length || state.kinds.length;
  const weighted = state.mode === "hybrid" && state.balance !== 0.5;
  return {
    query: state.q.trim() || null,
    image: image || null,
    top_k: state.k,
    mode: state.mode,
    weights: weighted ? { vector: 2 * state.balance, text: 2 * (1 - state.balance) } : null,
    filters: filtered ? { documents: state.docs, languages: state.langs, kinds: state.kinds, metadata: {} } : null,
    rerank: index.reranker ? state.rerank : null,
    rerank_depth: state.depth,
    dimensions: state.mode === "text" ? null : state.dims,
    version: state.version,
    session: index.feedback ? session() : null,
  };
}

function show(now) {
  const before = shown?.answer && questionKey(shown.state) === questionKey(now.state) ? shown : null;
  const found = before ? compare(before, now) : null;
  const { answer, state } = now;
  shown = now;
  clear();
  if (!answer.hits.length) {
    const filtered = state.docs.length + state.langs.length + state.kinds.length;
    const everywhere = h("button", { type: "button", class: "quiet", on: { click: () => go({ docs: [], langs: [], kinds: [] }) } }, "Search everywhere");
    const meaning = h("button", { type: "button", class: "quiet", on: { click: () => go({ mode: "hybrid" }) } }, "Search by meaning too");
    replace($("#state"), told("nothing", "Nothing found", state.mode === "text" ? "No page has any of these words." : "No page matches.", filtered > 0 && everywhere, state.mode === "text" && meaning));
    announce("Nothing found");
    $("#found-head").hidden = false;
    replace($("#found-count"), foundTold(0, milliseconds(answer.timings.total)));
    return;
  }
  const ranks = found && new Map(before.answer.hits.map((hit) => [hit.page_id, hit.rank]));
  const sizes = new Map(index.documents.map((one) => [one.name, one.pages]));
  replace(
    $("#results"),
    answer.hits.map((hit) => result(answer, hit, { was: ranks ? (ranks.get(hit.page_id) ?? null) : undefined, feedback: index.feedback, documentPages: sizes.get(hit.document) })),
  );
  $("#found-head").hidden = false;
  replace($("#found-count"), foundTold(answer.hits.length, milliseconds(answer.timings.total)));
  replace($("#timing"), timingBar(answer.timings));
  $("#trade").hidden = !found;
  if (found) replace($("#trade"), tradeLine(found));
  replace($("#after"), index.feedback && noneOfThese(answer));
  announce([`${plural(answer.hits.length, "page")} found in ${milliseconds(answer.timings.total)}.`, found && $("#trade").textContent].filter(Boolean).join(" "));
}

function remember(key, entry) {
  answers.delete(key);
  answers.set(key, entry);
  if (answers.size > REMEMBERED) answers.delete(answers.keys().next().value);
}

function waiting(on) {
  $("#results").setAttribute("aria-busy", String(on));
  if (!on) return;
  replace($("#state"));
  replace($("#results"), skeletons(Math.min(current().k, 6)));
  replace($("#after"));
  $("#trade").hidden = true;
  announce("Searching");
}

function clear() {
  for (const place of ["#state", "#results", "#after", "#timing"]) replace($(place));
  $("#found-head").hidden = true;
  $("#trade").hidden = true;
}

function tidy() {
  $("#clear").hidden = !$("#q").value && !current().image;
}

const filters = () => {
  const { docs, langs, kinds, version, k } = current();
  return { docs, langs, kinds, version, k };
};

/** The filters that are set, each with a button that takes it away. */
function chips(state) {
  const kinds = [
    ["docs", (name) => name],
    ["langs", panel.languageName],
    ["kinds", (name) => name],
  ];
  replace(
    $("#chips"),
    kinds.flatMap(([name, say]) =>
      state[name].map((value) =>
        h(
          "span",
          { class: "chip" },
          h("span", {}, say(value)),
          h("button", { type: "button", class: "icon-button", "aria-label": `Take away the filter ${say(value)}`, on: { click: () => go({ [name]: current()[name].filter((one) => one !== value) }) } }, icon("close")),
        ),
      ),
    ),
  );
}

function layOut(layout) {
  $("#results").dataset.layout = layout;
  localStorage.setItem(LAYOUT, layout);
  for (const button of $$("[data-layout]", $(".found-head"))) button.setAttribute("aria-pressed", String(button.dataset.layout === layout));
}
