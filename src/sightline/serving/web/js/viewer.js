// One page, large: zoom, neighbours, the heat map, the text layer.
import { call, showImage } from "./api.js";
import { $, announce, h, replace, toast } from "./dom.js";
import { clicked, judge } from "./feedback.js";
import { legend, paint } from "./heat.js";
import { icon } from "./icons.js";
import { pictureOf } from "./picture.js";
import { told as toldState } from "./results.js";
import { current, go } from "./store.js";
import { Zoom } from "./zoom.js";

const TEXT_OPEN = "sightline-text-open";

let facts = null;
let answerOf = () => null;
let parts = null;
let shown = null;
let loading = null;

/** Makes the dialog; `answer()` gives the answer that stands in the list, or null. */
export function build(index, answer) {
  facts = index;
  answerOf = answer;
  const dialog = $("#viewer");
  const tool = (sign, label, key, act, props = {}) =>
    h("button", { type: "button", class: "icon-button", "aria-label": label, title: key ? `${label} (${key})` : label, on: { click: act }, ...props }, icon(sign));
  const percent = h("output", { "aria-label": "Zoom" });
  const image = h("img", { alt: "", draggable: "false" });
  const canvas = h("canvas", { hidden: true, "aria-hidden": "true" });
  const sheet = h("div", { class: "sheet-held" }, image, canvas);
  const before = tool("left", "Page before", "p", () => turn("previous"), { class: "icon-button turn before" });
  const after = tool("right", "Page after", "n", () => turn("next"), { class: "icon-button turn after" });
  const stage = h("div", { class: "stage" }, sheet, before, after);
  const heat = h(
    "button",
    { type: "button", class: "icon-button labelled", "aria-pressed": "false", "aria-label": "Heat map", title: "Where on the page (h)", on: { click: toggleHeat } },
    icon("heat"),
    h("span", {}, "Heat map"),
  );
  const text = h(
    "button",
    { type: "button", class: "icon-button labelled", "aria-pressed": "true", "aria-label": "Text", title: "Text of the page (t)", on: { click: toggleText } },
    icon("text"),
    h("span", {}, "Text"),
  );
  const title = h("h2", { id: "viewer-title", tabindex: "-1", autofocus: true });
  const line = h("p", {});
  const marks = h("div", { class: "viewer-marks" });
  const words = h("div", { class: "side-text", tabindex: "0", role: "region", "aria-label": "Text of the page" });
  const copy = tool("copy", "Copy the text", "", copyText);
  const side = h("div", { class: "side" }, h("div", { class: "side-top" }, h("h3", {}, "Text"), copy), words);
  replace(
    dialog,
    h(
      "div",
      { class: "viewer-top" },
      h("div", { class: "viewer-told" }, title, line),
      marks,
      heat,
      text,
      h("div", { class: "zoom", role: "group", "aria-label": "Zoom" }, tool("minus", "Smaller", "\u2212", () => zoom.by(1 / 1.3)), percent, tool("plus", "Larger", "+", () => zoom.by(1.3)), tool("fit", "Whole page", "0", () => zoom.fit())),
      tool("close", "Close", "Esc", close, { class: "icon-button close" }),
    ),
    stage,
    side,
  );
  const zoom = new Zoom(stage, sheet, (scale) => (percent.textContent = `${Math.round(scale * 100)}%`));
  parts = { dialog, image, canvas, sheet, stage, before, after, heat, text, title, line, marks, words, side, zoom, copy };
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    close();
  });
  // On the document: a button that has just been disabled takes the focus out of the dialog with it.
  document.addEventListener("keydown", keys);
  showText(localStorage.getItem(TEXT_OPEN) !== "no" && matchMedia("(min-width: 901px)").matches);
}

/** Opens, turns or closes, as the state says. */
export function draw(state, before) {
  if (state.page === null) {
    if (!parts.dialog.open) return;
    parts.dialog.close();
    shown = null;
    const last = before.page;
    document.querySelector(`[data-page="${CSS.escape(last)}"] .title`)?.focus({ preventScroll: false });
    return;
  }
  if (!parts.dialog.open) parts.dialog.showModal();
  if (shown?.page_id !== state.page || shown?.version !== state.version) open(state);
  else if (state.heat !== before.heat) drawHeat(state);
}

async function open(state) {
  loading?.abort();
  const control = (loading = new AbortController());
  const hit = answerOf()?.hits.find((one) => one.page_id === state.page);
  shown = { page_id: state.page, version: state.version };
  clearHeat();
  parts.stage.querySelector(".told")?.remove();
  parts.image.classList.remove("there");
  head(hit ?? { document: "" }, hit);
  replace(parts.marks);
  try {
    const page = await call("/v1/page", { params: { page_id: state.page, version: state.version }, signal: control.signal });
    shown = { ...page, version: state.version };
    tell(page, hit);
    await image(page, control.signal);
    if (control.signal.aborted) return;
    const answer = answerOf();
    if (hit && facts.feedback) clicked(answer, page.page_id);
    if (current().heat) drawHeat(current());
  } catch (error) {
    if (error.name === "AbortError" || control.signal.aborted) return;
    parts.sheet.hidden = true;
    parts.stage.append(toldState("alert", "This page cannot be shown", error.message));
  }
}

function head({ document, page }, hit) {
  const pages = facts.documents.find((one) => one.name === document)?.pages;
  const place = page == null ? "" : `Page ${page + 1}${pages ? ` of ${pages}` : ""}`;
  parts.title.textContent = document;
  parts.line.textContent = [place, hit && `result ${hit.rank}`].filter(Boolean).join(" \u00b7 ");
}

function tell(page, hit) {
  head(page, hit);
  parts.before.disabled = !page.previous;
  parts.after.disabled = !page.next;
  replace(parts.marks, hit && facts.feedback && judge(answerOf(), page.page_id, page.document));
  parts.heat.hidden = !(current().q || current().image) || !page.image;
  parts.words.classList.toggle("none", !page.text);
  parts.copy.disabled = !page.text;
  replace(parts.words, page.text ? marked(page.text, hit) : "This page has no text layer.");
  parts.words.scrollTop = 0;
  announce(`${page.document}, page ${page.page + 1}`);
}

async function image(page, signal) {
  parts.sheet.hidden = !page.image;
  if (!page.image) {
    parts.stage.append(toldState("page", "No image of this page", page.text ? "Its text stands beside." : ""));
    return;
  }
  const loaded = new Promise((resolve, reject) => {
    parts.image.onload = resolve;
    parts.image.onerror = () => reject(new Error("Its image is not where it was when the index was built."));
  });
  if (page.width && page.height) parts.zoom.show(page.width, page.height);
  parts.image.alt = `Page ${page.page + 1} of ${page.document}`;
  await showImage(parts.image, page.image, { signal });
  await loaded;
  if (signal.aborted) return;
  const { naturalWidth, naturalHeight } = parts.image;
  if (!page.width || !page.height) parts.zoom.show(naturalWidth, naturalHeight);
  parts.image.classList.add("there");
}

/** The text of the page, with the words that the snippet marks. */
function marked(text, hit) {
  const letters = [...(hit?.snippet.text ?? "")];
  const words = [...new Set((hit?.snippet.highlights ?? []).map(([start, end]) => letters.slice(start, end).join("")))];
  if (!words.length) return text;
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).sort((a, b) => b.length - a.length);
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(${escaped.join("|")})(?![\\p{L}\\p{N}])`, "giu");
  return text.split(pattern).map((part, at) => (at % 2 ? h("mark", {}, part) : part));
}

function toggleHeat() {
  go({ heat: !current().heat }, { instead: true });
}

async function drawHeat(state) {
  if (!state.heat || parts.heat.hidden) return clearHeat();
  const page = shown.page_id;
  parts.heat.setAttribute("aria-pressed", "true");
  parts.heat.setAttribute("aria-busy", "true");
  parts.heat.firstElementChild.replaceWith(h("span", { class: "spinner" }));
  try {
    const found = await call("/v1/heatmap", {
      body: { query: state.q || null, image: state.image ? pictureOf(state.image) : null, page_id: page, dimensions: state.dims, version: state.version },
      signal: loading.signal,
    });
    if (shown?.page_id !== page || !current().heat) return;
    paint(parts.canvas, found);
    parts.canvas.hidden = false;
    parts.stage.querySelector(".legend-card")?.remove();
    parts.stage.append(legend(parts.canvas, found, { encoder: facts.model, reranker: facts.reranker }));
    announce(`Heat map by ${found.method}`);
  } catch (error) {
    if (error.name === "AbortError") return;
    go({ heat: false }, { instead: true });
    toast(`No heat map: ${error.message}`, { seconds: 8 });
  } finally {
    parts.heat.removeAttribute("aria-busy");
    parts.heat.firstElementChild.replaceWith(icon("heat"));
  }
}

function clearHeat() {
  parts.canvas.hidden = true;
  parts.stage.querySelector(".legend-card")?.remove();
  parts.heat.setAttribute("aria-pressed", String(current().heat && current().page !== null));
}

function toggleText() {
  showText(parts.side.hidden);
  localStorage.setItem(TEXT_OPEN, parts.side.hidden ? "no" : "yes");
}

function showText(on) {
  parts.side.hidden = !on;
  parts.text.setAttribute("aria-pressed", String(on));
}

async function copyText() {
  try {
    await navigator.clipboard.writeText(shown.text);
    toast("Copied.", { seconds: 2 });
  } catch {
    // Without HTTPS the browser forbids it: select the text, so that Ctrl+C does it.
    getSelection().selectAllChildren(parts.words);
    toast("The text is selected: copy it with Ctrl+C.");
  }
}

function turn(way) {
  if (shown?.[way]) go({ page: shown[way] }, { instead: true });
}

function close() {
  go({ page: null, heat: false });
}

/** The result before or after, in the order of the list. */
function step(by) {
  const hits = answerOf()?.hits ?? [];
  const at = hits.findIndex((hit) => hit.page_id === current().page);
  const wanted = at < 0 ? hits[0] : hits[at + by];
  if (wanted) go({ page: wanted.page_id }, { instead: true });
}

function keys(event) {
  if (!parts.dialog.open || $("#help").open || event.metaKey || event.ctrlKey || event.altKey) return;
  const inSlider = event.target.matches("input[type=range]");
  const inText = event.target === parts.words;
  const does = {
    n: () => turn("next"),
    p: () => turn("previous"),
    ArrowRight: inSlider ? null : () => turn("next"),
    ArrowLeft: inSlider ? null : () => turn("previous"),
    ArrowDown: inSlider || inText ? null : () => step(1),
    ArrowUp: inSlider || inText ? null : () => step(-1),
    j: () => step(1),
    k: () => step(-1),
    h: () => parts.heat.hidden || toggleHeat(),
    t: toggleText,
    "+": () => parts.zoom.by(1.3),
    "=": () => parts.zoom.by(1.3),
    "-": () => parts.zoom.by(1 / 1.3),
    0: () => parts.zoom.fit(),
    r: () => parts.marks.querySelector('[data-kind="relevant"]')?.click(),
    x: () => parts.marks.querySelector('[data-kind="not_relevant"]')?.click(),
  }[event.key];
  if (!does) return;
  event.preventDefault();
  event.stopPropagation();
  does();
}
