// Several runs beside each other; figures are compared only where they come from the same questions.
import { curves, interval, rangeOf } from "./charts.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { VIEWS, day, decimal, metricName, shortName, signed } from "./format.js";
import { verdictTag } from "./run.js";
import { followed, link } from "./store.js";

const TONES = ["t1", "t2", "t3", "t4", "t5", "t6"];

/** `found` is the service's comparison, `runs` the runs in the same order. */
export function showComparison(found, runs) {
  return [
    h("h1", {}, `${runs.length} runs compared`),
    found.comparable
      ? h("p", { class: "lead" }, `On the same questions about the same pages. Differences are against ${found.runs[0].name}.`)
      : h("div", { class: "notice", role: "alert" }, icon("alert"), h("div", {}, h("b", {}, "These figures cannot be compared. "), found.reason)),
    table(found),
    h("h2", {}, "Training"),
    h("div", { class: "panels" }, overlaid(runs)),
    settings(runs),
  ];
}

function table(found) {
  const against = new Map(found.differences.map((one) => [one.run, one]));
  const range = rangeOf(found.differences);
  const heads = ["Run", "Best system", "Data", found.metric ? metricName(found.metric) : "Figure", ...(found.comparable ? [`Against ${found.runs[0].name}`, "", "Verdict"] : [])];
  const best = found.comparable ? Math.max(...found.runs.map((run) => run.value)) : null;
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of runs" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, heads.map((name, at) => h("th", { scope: "col", class: at === 3 || at === 4 ? "num" : null }, name || h("span", { class: "sr" }, "Interval"))))),
      h(
        "tbody",
        {},
        found.runs.map((run) => {
          const one = against.get(run.name);
          const place = { runs: [run.name] };
          return h(
            "tr",
            {},
            h("th", { scope: "row" }, h("a", { href: link(place), on: { click: (event) => followed(event, place) } }, run.name), h("span", { class: "sub" }, [run.model && shortName(run.model), day(run.created)].filter(Boolean).join(" \u00b7 "))),
            h("td", {}, run.system, h("span", { class: "sub" }, VIEWS[run.fields] ?? run.fields)),
            h("td", {}, run.dataset ?? "", h("span", { class: "sub" }, run.fingerprint?.slice(0, 12) ?? "no fingerprint")),
            h("td", { class: run.value === best ? "num best" : "num" }, decimal(run.value), h("span", { class: "sub" }, `${found.comparable ? "" : `${metricName(run.metric)}, `}${decimal(run.low)} to ${decimal(run.high)}`)),
            found.comparable && [
              h("td", { class: "num" }, one ? [h("b", {}, signed(one.difference)), h("span", { class: "sub" }, `${signed(one.low)} to ${signed(one.high)}`)] : "\u2013"),
              h("td", {}, one && interval(one, range, `${signed(one.low)} to ${signed(one.high)}`)),
              h("td", {}, one && verdictTag(one.verdict)),
            ],
          );
        }),
      ),
    ),
  );
}

function overlaid(runs) {
  const lines = (name) => runs.map((run, at) => ({ name: run.name, tone: TONES[at % TONES.length], points: run.log.filter((entry) => name(run) in entry && "step" in entry).map((entry) => [entry.step, entry[name(run)]]) }));
  const drawn = [
    curves("Loss", lines(() => "loss"), { say: decimal, keys: true }),
    curves("Figure on held-out questions while training", lines((run) => run.log_metric), { say: decimal, dots: true, keys: true }),
  ].filter(Boolean);
  return drawn.length ? drawn : h("p", { class: "note" }, "None of these runs kept a log.");
}

/** Settings in which the runs differ. */
function settings(runs) {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))].filter((name) => new Set(runs.map((run) => JSON.stringify(run.settings[name]))).size > 1);
  if (!names.length) return [h("h2", {}, "Settings"), h("p", { class: "note" }, "All settings of the recipes are equal.")];
  const say = (value) => (value === undefined ? "\u2013" : Array.isArray(value) ? value.join(", ") : String(value));
  return [
    h("h2", {}, "Settings that differ"),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Settings that differ" },
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Setting"), runs.map((run) => h("th", { scope: "col" }, run.name)))), h("tbody", {}, names.map((name) => h("tr", {}, h("th", { scope: "row" }, name), runs.map((run) => h("td", {}, say(run.settings[name]))))))),
    ),
  ];
}
