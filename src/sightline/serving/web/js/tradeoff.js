// What a search cost, and what a change of settings changed: so that people see what they trade.
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { milliseconds } from "./format.js";

const STAGES = [
  ["query", "query", "The question is taken apart"],
  ["encode", "question", "The model reads the question"],
  ["vector", "vectors", "Vectors are compared"],
  ["text", "words", "Words are matched"],
  ["fuse", "fusion", "The two rankings are fused"],
  ["rerank", "reranker", "The reranker reads the best pages"],
  ["pages", "pages", "Texts and snippets are fetched"],
];
const MODES = { hybrid: "by meaning and words", vector: "by meaning alone", text: "by words alone" };

/** A bar of the stages with their times. */
export function timingBar(timings) {
  const known = STAGES.filter(([name]) => timings[name] != null);
  const named = new Set([...known.map(([name]) => name), "total"]);
  const others = Object.keys(timings).filter((name) => !named.has(name));
  const stages = [...known, ...others.map((name) => [name, name.replaceAll("_", " "), ""])];
  const total = Math.max(timings.total, stages.reduce((sum, [name]) => sum + timings[name], 0));
  const tone = (name) => (named.has(name) ? `tone-${name}` : "tone-other");
  const bar = h("div", { class: "timing-bar", "aria-hidden": "true" });
  for (const [name] of stages) {
    const part = h("i", { class: tone(name) });
    part.style.width = `${(100 * timings[name]) / total}%`;
    bar.append(part);
  }
  return h(
    "div",
    { class: "timing" },
    bar,
    h("ul", { "aria-label": "Time by stage" }, stages.map(([name, told, title]) => h("li", { class: tone(name), title: title || null }, told, h("b", {}, milliseconds(timings[name]))))),
  );
}

/** How an answer differs from the one before to the same question; null where nothing was changed. */
export function compare(before, after) {
  const settings = changed(before, after);
  if (!settings.length) return null;
  const old = new Set(before.answer.hits.map((hit) => hit.page_id));
  const now = after.answer.hits.map((hit) => hit.page_id);
  const same = now.filter((id) => old.has(id)).length;
  const inPlace = now.filter((id, at) => before.answer.hits[at]?.page_id === id).length;
  const only = settings.length === 1 ? settings[0] : null;
  const stage = only?.stage && after.answer.timings[only.stage] != null && before.answer.timings[only.stage] != null ? only.stage : "total";
  return {
    same,
    count: now.length,
    inPlace,
    before: only ? only.told : "before the change of settings",
    stage,
    now: after.answer.timings[stage],
    then: before.answer.timings[stage],
  };
}

/** The comparison as a sentence. */
export function tradeLine(found) {
  const { same, count, inPlace, before, stage, now, then } = found;
  const which =
    same === count && inPlace === count
      ? [h("b", {}, `The same ${count} pages in the same order`), ` as ${before}`]
      : [h("b", {}, same === count ? `All ${count} pages are the same` : `${same} of ${count} pages are the same`), ` as ${before}${inPlace === same ? "" : `, ${inPlace} of them in the same place`}`];
  const what = stage === "vector" ? "Comparing vectors took " : stage === "rerank" ? "Reranking took " : "It took ";
  return [icon("scales"), h("span", {}, which, ". ", what, h("b", {}, milliseconds(now)), ` instead of ${milliseconds(then)}.`)];
}

function changed(before, after) {
  const found = [];
  const old = before.answer;
  const now = after.answer;
  if (old.dimensions !== now.dimensions) found.push({ told: `at ${old.dimensions} dimensions`, stage: "vector" });
  if (old.reranked !== now.reranked) found.push({ told: old.reranked ? "with the reranker" : "without the reranker" });
  else if (now.reranked && before.state.depth !== after.state.depth) {
    found.push({ told: before.state.depth ? `with ${before.state.depth} pages reranked` : "with the usual number of pages reranked", stage: "rerank" });
  }
  if (old.mode !== now.mode) found.push({ told: MODES[old.mode] });
  if (before.state.balance !== after.state.balance && now.mode === "hybrid") found.push({ told: "with the balance before" });
  if (old.version !== now.version) found.push({ told: `in version ${old.version}` });
  return found;
}
