// One run: what came of it, how it was trained, how to do it again.
import { file, hasKey } from "./api.js";
import { curves, interval, rangeOf } from "./charts.js";
import { h, toast } from "./dom.js";
import { icon } from "./icons.js";
import { VIEWS, day, decimal, duration, metricName, plural, shortName, signed } from "./format.js";

const TONES = ["t1", "t2", "t3", "t4", "t5", "t6"];
const METRICS = ["ndcg@10", "map", "mrr@10", "recall@10", "accuracy@1"];
// What the log has besides the parts of the loss.
const COUNTED = new Set(
  ("items tokens patches passes embedded_twice reembedded padding waiting peak_gb rss_gb items_per_second tokens_per_second " +
    "patches_per_second reused bad_batches step epoch loss learning_rate grad_norm num_input_tokens_seen").split(" "),
);
const AT_DIMENSION = /^(eval_.*?)dim(\d+)_(.+)$/;

export function showRun(run) {
  return [
    h("div", { class: "run-head" }, h("div", {}, h("h1", {}, run.name), verdict(run)), run.report && h("div", { class: "run-ends" }, reportLink(run))),
    facts(run),
    charts(run),
    systems(run),
    sizes(run),
    differences(run),
    remarks(run),
    recipe(run),
  ];
}

/** What the training changed, in a sentence. */
function verdict(run) {
  const { change, metric } = run;
  if (run.status === "unfinished") return h("p", { class: "lead" }, "This training is not finished. What it has saved so far stands below.");
  if (!change) return h("p", { class: "lead" }, `${metricName(metric)} ${decimal(run.value)} on ${plural(run.questions, "question")}.`);
  const words = { better: "better than", worse: "worse than", "no clear difference": "not clearly different from" }[change.verdict];
  const tone = { better: "good", worse: "bad" }[change.verdict] ?? "soft";
  return h(
    "p",
    { class: "lead" },
    h("b", { class: tone }, `${words[0].toUpperCase()}${words.slice(1)}`),
    ` ${change.before_name}: ${metricName(metric)} ${decimal(change.before)} \u2192 ${decimal(change.after)}, a difference of ${signed(change.difference)} (95% interval ${signed(change.low)} to ${signed(change.high)}) on ${plural(run.questions, "question")} about documents not seen in training.`,
  );
}

function reportLink(run) {
  const path = `/v1/runs/${encodeURIComponent(run.name)}/report`;
  const open = async (event) => {
    // A link cannot send the key, so the report is fetched and saved.
    if (!hasKey()) return;
    event.preventDefault();
    try {
      const address = URL.createObjectURL(await file(path));
      h("a", { href: address, download: `${run.name.replaceAll("/", "-")}.html` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10_000);
    } catch (error) {
      toast(error.message);
    }
  };
  return h("a", { class: "quiet", href: path, target: "_blank", rel: "noopener", on: { click: open } }, icon("report"), "Report");
}

function facts(run) {
  const steps = training(run.log);
  const told = [
    ["Model", run.model && shortName(run.model)],
    ["Data", run.dataset],
    ["Fingerprint of the data", run.fingerprint?.slice(0, 12)],
    ["Measured on", run.questions && `${plural(run.questions, "question")}, ${plural(run.pages, "page")}`],
    ["Finished", day(run.created)],
    ["Steps", steps.length ? steps.at(-1).step.toLocaleString("en") : null],
    ["Training time", run.seconds?.train && duration(run.seconds.train)],
    ["Hardware", run.hardware],
  ].filter(([, value]) => value);
  return told.length > 0 && h("dl", { class: "facts" }, told.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const training = (log) => log.filter((entry) => "loss" in entry && "learning_rate" in entry);
const line = (entries, name, label, tone) => ({ name: label, tone, points: entries.filter((entry) => name in entry).map((entry) => [entry.step, entry[name]]) });

/** Loss with its parts, the metric by step at each dimension, and loss on held-out rows. */
function charts(run) {
  const steps = training(run.log);
  const parts = [...new Set(steps.flatMap(Object.keys))].filter((name) => !COUNTED.has(name) && !/_(loss|batches)$/.test(name));
  const loss = [line(steps, "loss", "loss", "t1"), ...(parts.length > 1 ? parts.slice(0, 5).map((name, at) => line(steps, name, name, TONES[at + 1])) : [])];
  const drawn = [
    curves("Loss", loss, { say: decimal, dots: steps.length < 15 }),
    evaluations(run),
    curves("Loss on held-out rows", [line(run.log, "eval_loss", "loss", "t1")], { say: decimal, dots: true }),
  ].filter(Boolean);
  return drawn.length > 0 && [h("h2", {}, "Training"), h("div", { class: "panels" }, drawn)];
}

function evaluations({ log, log_metric: metric }) {
  const found = log.filter((entry) => metric && metric in entry);
  if (!found.length) return null;
  const cuts = Object.keys(found[0])
    .map((name) => [name, AT_DIMENSION.exec(name)])
    .filter(([, at]) => at && at[1] + at[3] === metric)
    .sort(([, a], [, b]) => b[2] - a[2])
    .slice(1);
  const short = metricName(metric.replace(/^eval_/, ""));
  const lines = [line(found, metric, "all dimensions", "t1"), ...cuts.slice(0, 5).map(([name, at], place) => line(found, name, `${at[2]} dimensions`, TONES[place + 1]))];
  return curves(`${short} on held-out questions`, lines, { say: decimal, dots: true });
}

function systems(run) {
  if (!run.systems.length) return null;
  const metrics = METRICS.filter((name) => run.systems.some((one) => name in one.metrics));
  const best = Object.fromEntries(metrics.map((name) => [name, Math.max(...run.systems.map((one) => one.metrics[name] ?? -Infinity))]));
  return [
    h("h2", {}, "Before and after"),
    h("p", { class: "note" }, "All systems on the same questions; below each deciding figure its 95% interval."),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of systems" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "System"), h("th", { scope: "col" }, "Pages seen as"), metrics.map((name) => h("th", { scope: "col", class: "num" }, metricName(name))))),
        h("tbody", {}, run.systems.map((one) => h("tr", {}, h("th", { scope: "row" }, one.name), h("td", {}, VIEWS[one.fields] ?? one.fields), metrics.map((name) => metricCell(one, name, best[name], name === run.metric))))),
      ),
    ),
  ];
}

function metricCell(one, name, best, deciding) {
  const value = one.metrics[name];
  const ends = deciding ? one.intervals[name] : null;
  return h("td", { class: value === best ? "num best" : "num" }, decimal(value), ends && h("span", { class: "sub" }, `${decimal(ends[0])} to ${decimal(ends[1])}`));
}

/** Quality over embedding dimensions, where several were measured. */
function sizes(run) {
  const cut = run.systems.filter((one) => Object.keys(one.by_dim).length > 1);
  if (!cut.length) return null;
  const views = [...new Set(cut.map((one) => one.fields))];
  const drawn = views.map((view) => {
    const lines = cut.filter((one) => one.fields === view).map((one, at) => ({ name: one.name, tone: one.name === "fine-tuned" ? "t1" : TONES[at + 1], points: Object.entries(one.by_dim).map(([dim, found]) => [Number(dim), found[run.metric]]).sort(([a], [b]) => a - b) }));
    return curves(`${metricName(run.metric)}, ${VIEWS[view] ?? view}`, lines, { say: decimal, dots: true, along: "dimensions" });
  });
  return [h("h2", {}, "Quality over dimensions"), h("p", { class: "note" }, "Fewer dimensions make a smaller, faster index. Each figure has its own scale."), h("div", { class: "panels" }, drawn)];
}

function differences(run) {
  if (!run.comparisons.length) return null;
  const range = rangeOf(run.comparisons);
  const told = (one) => (one.fields ? `${one.name} (${VIEWS[one.fields] ?? one.fields})` : one.name);
  return [
    h("h2", {}, "What separates them"),
    h("p", { class: "note" }, "Differences on the same questions with 95% paired bootstrap intervals; clear where the interval leaves zero out."),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of differences" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, ["After", "against", "Difference", "", "Verdict", "Better / worse / same"].map((name) => h("th", { scope: "col", class: /^(Diff|Better)/.test(name) ? "num" : null }, name || h("span", { class: "sr" }, "Interval"))))),
        h(
          "tbody",
          {},
          run.comparisons.map((one) =>
            h(
              "tr",
              {},
              h("td", {}, told(one.after)),
              h("td", {}, told(one.before)),
              h("td", { class: "num" }, h("b", {}, signed(one.difference)), h("span", { class: "sub" }, `${signed(one.low)} to ${signed(one.high)}`)),
              h("td", {}, interval(one, range, `${signed(one.low)} to ${signed(one.high)}`)),
              h("td", {}, verdictTag(one.verdict)),
              h("td", { class: "num" }, `${one.better} / ${one.worse} / ${one.same}`),
            ),
          ),
        ),
      ),
    ),
  ];
}

export const verdictTag = (verdict) => h("span", { class: `tag ${{ better: "good", worse: "bad" }[verdict] ?? ""}` }, verdict);

function remarks(run) {
  if (!run.remarks?.length) return null;
  const tones = { error: "bad", warning: "warn" };
  return [
    h("h2", {}, "Found in the data"),
    h("p", { class: "note" }, "What `sightline check` had to say before the training."),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Findings in the data" },
      h("table", {}, h("thead", {}, h("tr", {}, ["", "Cases", "What", "What to do"].map((name) => h("th", { scope: "col", class: name === "Cases" ? "num" : null }, name || h("span", { class: "sr" }, "Severity"))))), h("tbody", {}, run.remarks.map((one) => h("tr", {}, h("td", {}, h("span", { class: `tag ${tones[one.severity] ?? ""}` }, one.severity)), h("td", { class: "num" }, one.count.toLocaleString("en")), h("td", {}, one.title, h("span", { class: "sub" }, one.message)), h("td", {}, one.advice))))),
    ),
  ];
}

function recipe(run) {
  if (!run.recipe) return null;
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(run.recipe);
      toast("Copied.", { seconds: 2 });
    } catch {
      getSelection().selectAllChildren(text);
      toast("The recipe is selected: copy it with Ctrl+C.");
    }
  };
  const text = h("pre", { class: "recipe", tabindex: "0", role: "region", "aria-label": "Recipe" }, run.recipe.trim());
  return [h("div", { class: "run-head" }, h("h2", {}, "Recipe"), h("button", { type: "button", class: "quiet recipe-copy", on: { click: copy } }, icon("copy"), "Copy")), h("p", { class: "note" }, "Every setting of the run. Saved as a file, `sightline train` runs it again."), text];
}
