// Relevant, not relevant, none of these, and clicks: what people say about results.
import { call } from "./api.js";
import { h, toast } from "./dom.js";
import { icon } from "./icons.js";

const SESSION = "sightline-session";

const KINDS = [
  ["relevant", "yes", "Relevant"],
  ["not_relevant", "no", "Not relevant"],
];

/** A name for this tab that says nothing about who sits before it: searched twice, a person still has one voice. */
export function session() {
  const known = sessionStorage.getItem(SESSION);
  if (known) return known;
  // Not crypto.randomUUID: it is missing where the page is served over plain HTTP to another machine.
  const made = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  sessionStorage.setItem(SESSION, made);
  return made;
}

/** Records a mark and keeps it with the answer; the same mark again takes it back. */
export async function mark(answer, pageId, kind) {
  const marks = (answer.marks ??= new Map());
  const place = pageId ?? "";
  const before = marks.get(place);
  const wanted = before === kind ? "clear" : kind;
  if (wanted === "clear") marks.delete(place);
  else marks.set(place, kind);
  changed(answer, place);
  try {
    await call("/v1/feedback", { body: { search_id: answer.id, page_id: pageId, kind: wanted } });
  } catch (error) {
    if (before) marks.set(place, before);
    else marks.delete(place);
    changed(answer, place);
    toast(`Your mark was not kept. ${error.message}`);
  }
}

/** Records that a page was opened; never in the way of opening it. */
export function clicked(answer, pageId) {
  const seen = (answer.clicks ??= new Set());
  if (seen.has(pageId)) return;
  seen.add(pageId);
  call("/v1/feedback", { body: { search_id: answer.id, page_id: pageId, kind: "click" } }).catch(() => seen.delete(pageId));
}

/** The two buttons of a result. */
export function judge(answer, pageId, document) {
  const group = h(
    "div",
    { class: "judge", role: "group", "aria-label": `Is this page of ${document} what you looked for?` },
    KINDS.map(([kind, sign, name]) =>
      h("button", { type: "button", data: { kind }, "aria-label": name, title: name, on: { click: () => mark(answer, pageId, kind) } }, icon(sign), h("span", {}, name)),
    ),
  );
  watch(group, answer, pageId, (kind) => {
    for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
  });
  return group;
}

/** The question below the results. */
export function noneOfThese(answer) {
  const button = h("button", { type: "button", class: "quiet", on: { click: () => mark(answer, null, "none_relevant") } }, "None of these");
  watch(button, answer, "", (kind) => button.setAttribute("aria-pressed", String(kind === "none_relevant")));
  return h("div", { class: "none-of-these" }, h("span", {}, "Not what you looked for? Saying so teaches the next model."), button);
}

const watchers = new Set();

function watch(element, answer, place, show) {
  show(answer.marks?.get(place));
  watchers.add({ element: new WeakRef(element), answer, place, show });
}

function changed(answer, place) {
  for (const one of watchers) {
    if (!one.element.deref()?.isConnected) watchers.delete(one);
    else if (one.answer === answer && one.place === place) one.show(answer.marks.get(place));
  }
}
