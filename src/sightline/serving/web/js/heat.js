// The heat map over a page: values to colours, and a legend that says where they come from.
import { h } from "./dom.js";
import { milliseconds, shortName } from "./format.js";

// Strength -> red, green, blue, opacity; weak spots leave the page readable.
const RAMP = [
  [0, 255, 214, 102, 0],
  [0.35, 255, 214, 102, 0.42],
  [0.68, 255, 140, 46, 0.66],
  [1, 224, 38, 60, 0.82],
];
const METHODS = {
  "token similarity": ["Token similarity", "how well each patch of the page matches the words of the question. This is what the score is made of."],
  gradient: ["Gradient", "how strongly each spot of the page moves its score. An approximation: it tells where the model looks, not why."],
  occlusion: ["Occlusion", "how far the score falls when a spot of the page is covered."],
};

/** Paints the answer of /v1/heatmap onto a canvas. */
export function paint(canvas, { width, height, values }) {
  const bytes = Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0));
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(width, height);
  for (let at = 0; at < width * height; at++) image.data.set(colour(bytes[at] / 255), at * 4);
  pen.putImageData(image, 0, 0);
}

/** What the colours mean. */
export function legend(canvas, { method, model, milliseconds: took }, names) {
  const [title, meaning] = METHODS[method] ?? [method, "where the model finds what was asked for."];
  const strength = h("input", {
    type: "range",
    min: 0.2,
    max: 1,
    step: 0.05,
    value: canvas.style.opacity || 1,
    "aria-label": "Strength of the heat map",
    on: { input: (event) => (canvas.style.opacity = event.target.value) },
  });
  return h(
    "div",
    { class: "legend-card", role: "note" },
    h("div", { class: "legend-row" }, h("span", {}, "weak"), h("span", { class: "ramp", "aria-hidden": "true" }), h("span", {}, "strong"), h("label", {}, "Strength", strength)),
    h("p", {}, h("b", {}, title), ": ", meaning, " ", h("span", {}, `By ${told(model, names)}, in ${milliseconds(took)}.`)),
  );
}

function told(model, { encoder, reranker }) {
  if (model === "reranker") return reranker ? `the reranker ${shortName(reranker)}` : "the reranker";
  return encoder ? `the encoder ${shortName(encoder)}` : "the encoder";
}

function colour(value) {
  const above = Math.max(1, RAMP.findIndex(([at]) => value <= at));
  const [low, high] = [RAMP[above - 1], RAMP[above]];
  const share = (value - low[0]) / (high[0] - low[0]);
  const mixed = low.map((part, at) => part + share * (high[at] - part));
  return [mixed[1], mixed[2], mixed[3], mixed[4] * 255];
}
