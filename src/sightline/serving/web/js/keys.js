// The keyboard in the list, and the card that tells all keys.
import { $, $$, h, replace } from "./dom.js";
import { current } from "./store.js";

const SHORTCUTS = {
  Search: [
    [["/"], "to the search box"],
    [["j", "k"], "next and previous result; arrow keys too"],
    [["Enter"], "open the page"],
    [["r", "x"], "mark as relevant, not relevant"],
  ],
  Page: [
    [["n", "p"], "next and previous page of the document"],
    [["j", "k"], "next and previous result"],
    [["h"], "heat map: where on the page"],
    [["t"], "text of the page"],
    [["+", "\u2212", "0"], "larger, smaller, whole page"],
    [["Esc"], "close"],
  ],
  Everywhere: [[["?"], "this list"]],
};

export function build(feedback) {
  const told = ([keys]) => feedback || keys[0] !== "r";
  replace(
    $("#help"),
    h("h2", { id: "help-title" }, "Keyboard shortcuts"),
    Object.entries(SHORTCUTS).map(([place, lines]) => [
      h("h3", {}, place),
      h("dl", { class: "shortcuts" }, lines.filter(told).map(([keys, what]) => h("div", {}, h("dt", {}, keys.map((key) => h("kbd", {}, key))), h("dd", {}, what)))),
    ]),
    h("div", { class: "dialog-ends" }, h("button", { type: "button", class: "quiet", on: { click: () => $("#help").close() } }, "Close")),
  );
}

export function showHelp() {
  if (!$("#help").open) $("#help").showModal();
}

addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || event.defaultPrevented) return;
  const typing = event.target.matches("input:not([type=checkbox], [type=radio], [type=range]), select, textarea");
  if (event.key === "?" && !typing) return act(event, showHelp);
  if ($("dialog[open]") || current().view !== "search") return;
  if (event.key === "Escape" && event.target === $("#q")) return act(event, () => focusResult(0));
  if (event.target === $("#q") && event.key === "ArrowDown" && $(".result .title")) return act(event, () => focusResult(0));
  if (typing) return;
  if (event.key === "/") return act(event, focusBox);
  const inControl = event.target.matches("input, button, summary");
  const columns = columnsOf();
  const steps = { j: 1, k: -1, ...(inControl ? {} : { ArrowDown: columns, ArrowUp: -columns }), ...(inControl || columns < 2 ? {} : { ArrowRight: 1, ArrowLeft: -1 }) };
  if (event.key in steps && $(".result .title")) return act(event, () => move(steps[event.key]));
  const kind = { r: "relevant", x: "not_relevant" }[event.key];
  const here = document.activeElement?.closest(".result");
  if (kind && here) $(`[data-kind="${kind}"]`, here)?.click();
});

function act(event, does) {
  event.preventDefault();
  does();
}

function focusBox() {
  $("#q").focus();
  $("#q").select();
}

function move(by) {
  const here = document.activeElement?.closest(".result");
  focusResult(here ? $$(".result").indexOf(here) + by : 0);
}

function focusResult(at) {
  const all = $$(".result .title");
  if (at < 0) return focusBox();
  const wanted = all[Math.min(at, all.length - 1)];
  wanted?.focus({ preventScroll: true });
  wanted?.closest(".result").scrollIntoView({ block: "nearest" });
}

/** Results in a row of the grid. */
function columnsOf() {
  const all = $$(".result");
  const first = all[0]?.offsetTop;
  const next = all.findIndex((one) => one.offsetTop !== first);
  return Math.max(1, next < 0 ? (all.length && $("#results").dataset.layout === "grid" ? all.length : 1) : next);
}
