// The pages found, and what stands in their place while there are none.
import { showImage } from "./api.js";
import { h } from "./dom.js";
import { judge } from "./feedback.js";
import { icon } from "./icons.js";
import { plural, score } from "./format.js";
import { followed, link } from "./store.js";

const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      showImage(target, target.dataset.path).catch(() => target.dispatchEvent(new Event("error")));
    }
  },
  { rootMargin: "600px" },
);

/** A page image that is loaded when it comes near the screen. */
export function thumbnail(path, { width, height, box }) {
  if (!path) return h("span", { class: "none" }, icon("page"), "no image");
  const scale = width && height ? Math.min(box[0] / width, box[1] / height) : null;
  const image = h("img", {
    alt: "",
    width: scale && Math.round(width * scale),
    height: scale && Math.round(height * scale),
    data: { path },
    on: {
      load: () => image.classList.add("there"),
      error: () => image.replaceWith(h("span", { class: "none" }, icon("page"), "no image")),
    },
  });
  near.observe(image);
  return image;
}

/** One result. `was` is its rank in the answer before, null where it is new, undefined where nothing is compared. */
export function result(answer, hit, { was, feedback, documentPages }) {
  const place = { page: hit.page_id };
  const title = h("a", { class: "title", href: link(place), id: `hit-${hit.rank}`, on: { click: (event) => followed(event, place) } }, hit.document);
  const pages = documentPages ? ` of ${documentPages}` : "";
  return h(
    "li",
    { class: "result", data: { page: hit.page_id } },
    h(
      "div",
      { class: "sheet-image" },
      thumbnail(hit.thumbnail, { width: hit.width, height: hit.height, box: [216, 240] }),
      h("span", { class: "rank", "aria-hidden": "true" }, String(hit.rank)),
    ),
    h(
      "div",
      { class: "result-body" },
      h("h3", {}, h("span", { class: "sr" }, `${hit.rank}. `), title),
      h("p", { class: "page-number" }, `Page ${hit.page + 1}${pages}`),
      snippet(hit.snippet),
      h("div", { class: "result-ends" }, parts(answer, hit, was), feedback && judge(answer, hit.page_id, hit.document)),
    ),
  );
}

/** Text with the words that were asked for marked; highlights count code points, as Python does. */
function snippet({ text, highlights }) {
  if (!text) return h("p", { class: "snippet none" }, "This page has no text layer.");
  const letters = [...text];
  const nodes = [];
  let at = 0;
  for (const [start, end] of highlights) {
    nodes.push(letters.slice(at, start).join(""), h("mark", {}, letters.slice(start, end).join("")));
    at = end;
  }
  return h("p", { class: "snippet" }, nodes, letters.slice(at).join(""));
}

function parts(answer, hit, was) {
  const found = [
    h("span", { title: "Comparable within one search only" }, h("span", { class: "wide" }, answer.reranked ? "reranker " : "score "), h("b", {}, score(hit.score))),
  ];
  if (hit.vector_rank != null) found.push(h("span", { class: "tone-vector rankings" }, h("i", { class: "dot" }), "meaning ", h("b", {}, `#${hit.vector_rank}`)));
  if (hit.text_rank != null) found.push(h("span", { class: "tone-text rankings" }, h("i", { class: "dot" }), "words ", h("b", {}, `#${hit.text_rank}`)));
  if (was === null) found.push(h("span", { class: "moved new" }, "new"));
  else if (was > hit.rank) found.push(h("span", { class: "moved up", "aria-label": `up from place ${was}` }, `\u2191 ${was - hit.rank}`));
  else if (was < hit.rank) found.push(h("span", { class: "moved down", "aria-label": `down from place ${was}` }, `\u2193 ${hit.rank - was}`));
  return h("div", { class: "parts" }, found);
}

/** Places of results to come. */
export function skeletons(count) {
  return Array.from({ length: count }, () =>
    h(
      "li",
      { class: "result waiting", "aria-hidden": "true" },
      h("div", { class: "skeleton sheet-image" }),
      h("div", { class: "result-body" }, ["46%", "18%", "92%", "88%", "64%"].map(bone)),
    ),
  );
}

function bone(width) {
  const one = h("div", { class: "skeleton" });
  one.style.width = width;
  return one;
}

/** A state in words: nothing found, an error, no connection. */
export function told(sign, title, text, ...actions) {
  return h("div", { class: "told" }, icon(sign), h("h2", {}, title), text && h("p", {}, text), actions);
}

/** What went wrong, with what can be done; `again` tries once more. */
export function failure(error, again) {
  const retry = h("button", { type: "button", class: "quiet", on: { click: again } }, "Try again");
  if (error.offline) {
    return told("offline", navigator.onLine ? "The service does not answer" : "You are offline", "The search is tried again when the connection is back.", retry);
  }
  if (error.busy) return busy(error, again);
  const reference = error.requestId && h("p", {}, "Reference for whoever runs it: ", h("code", {}, error.requestId));
  if (error.status >= 500) return told("alert", "Something went wrong in the service", error.message, reference, retry);
  return told("alert", "This search cannot be answered", error.message, reference);
}

/** The service is full: counts down to its next try. */
function busy(error, again) {
  let left = Math.ceil(error.retryAfter ?? 3);
  const count = h("b", {}, String(left));
  const seconds = h("span", {}, left === 1 ? " second" : " seconds");
  const box = told(
    "clock",
    "Many people are searching",
    h("span", {}, "The service is busy. Trying again in ", count, seconds, "."),
    h("button", { type: "button", class: "quiet", on: { click: () => finish() } }, "Try now"),
  );
  const timer = setInterval(() => {
    if (!box.isConnected) return clearInterval(timer);
    left -= 1;
    count.textContent = String(left);
    seconds.textContent = left === 1 ? " second" : " seconds";
    if (left <= 0) finish();
  }, 1000);
  const finish = () => {
    clearInterval(timer);
    again();
  };
  return box;
}

export const foundTold = (count, milliseconds) => [plural(count, "page"), h("span", {}, ` in ${milliseconds}`)];
