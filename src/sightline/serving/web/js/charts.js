// Curves and intervals as SVG.
import { h, s } from "./dom.js";

const [WIDTH, HEIGHT] = [560, 250];
const ROOM = { left: 46, right: 12, top: 8, bottom: 34 };

/**
 * A figure with curves over steps.
 * `lines`: [{ name, tone: "t1".."t6", points: [[x, y], ...] }]; `say(y)` writes a value.
 */
export function curves(caption, lines, { say, dots = false, along = "step", keys = lines.length > 1 }) {
  const known = lines.filter((line) => line.points.length);
  if (!known.length) return null;
  const all = known.flatMap((line) => line.points);
  const [x0, x1] = span(all.map(([x]) => x));
  const ticks = nice(...span(all.map(([, y]) => y)), 4);
  const [y0, y1] = [ticks[0], ticks.at(-1)];
  const across = (x) => ROOM.left + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - ROOM.left - ROOM.right);
  const up = (y) => HEIGHT - ROOM.bottom - ((y - y0) / (y1 - y0 || 1)) * (HEIGHT - ROOM.top - ROOM.bottom);
  const steps = nice(x0, x1, 5).filter((x) => x >= x0 && x <= x1);
  const marker = s("line", { class: "hover", y1: ROOM.top, y2: HEIGHT - ROOM.bottom, visibility: "hidden" });
  const described = known.map((line) => `${line.name}: from ${say(line.points[0][1])} to ${say(line.points.at(-1)[1])}`).join("; ");
  const plot = s(
    "svg",
    { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${caption}. ${described}` },
    ticks.map((y) => [
      s("line", { class: "grid", x1: ROOM.left, x2: WIDTH - ROOM.right, y1: up(y), y2: up(y) }),
      s("text", { x: ROOM.left - 8, y: up(y) + 4, "text-anchor": "end" }, trim(y)),
    ]),
    steps.map((x) => s("text", { x: across(x), y: HEIGHT - 14, "text-anchor": "middle" }, Math.round(x).toLocaleString("en"))),
    s("text", { x: WIDTH - ROOM.right, y: HEIGHT - 1, "text-anchor": "end" }, along),
    marker,
    known.map((line) => [
      s("path", { class: `line ${line.tone}`, d: line.points.map(([x, y], at) => `${at ? "L" : "M"}${across(x).toFixed(1)} ${up(y).toFixed(1)}`).join("") }),
      (dots || line.points.length < 3) && line.points.map(([x, y]) => s("circle", { class: `point ${line.tone}`, cx: across(x), cy: up(y), r: 4 })),
    ]),
  );
  const figure = h(
    "figure",
    { class: "chart" },
    h("figcaption", {}, caption),
    plot,
    keys && h("ul", { class: "keys" }, known.map((line) => h("li", { class: line.tone }, line.name))),
  );
  follow(figure, plot, known, { across, marker, say, along });
  return figure;
}

/** Shows the values at the step below the pointer. */
function follow(figure, plot, lines, { across, marker, say, along }) {
  const tip = h("div", { class: "tip", hidden: true });
  figure.append(tip);
  const steps = [...new Set(lines.flatMap((line) => line.points.map(([x]) => x)))].sort((a, b) => a - b);
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    const step = steps.reduce((best, x) => (Math.abs(across(x) - at) < Math.abs(across(best) - at) ? x : best));
    const told = lines.map((line) => [line, line.points.find(([x]) => x === step)]).filter(([, point]) => point);
    marker.setAttribute("x1", across(step));
    marker.setAttribute("x2", across(step));
    marker.setAttribute("visibility", "visible");
    tip.hidden = false;
    tip.replaceChildren(h("div", {}, `${along} ${step.toLocaleString("en")}`), ...told.map(([line, point]) => h("div", {}, `${line.name} `, h("b", {}, say(point[1])))));
    const left = plot.offsetLeft + (across(step) / WIDTH) * box.width;
    tip.style.left = `${Math.max(4, Math.min(left + 12, figure.clientWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = "44px";
  });
  plot.addEventListener("pointerleave", () => {
    tip.hidden = true;
    marker.setAttribute("visibility", "hidden");
  });
}

/** A difference with its 95% interval about zero; all that share `range` can be compared by eye. */
export function interval({ difference, low, high }, range, described) {
  const [width, height] = [240, 26];
  const across = (value) => 8 + ((value - range[0]) / (range[1] - range[0] || 1)) * (width - 16);
  const tone = low > 0 ? "t-good" : high < 0 ? "t-bad" : "t-flat";
  return s(
    "svg",
    { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": described },
    s("line", { class: "grid", x1: 8, x2: width - 8, y1: height / 2, y2: height / 2 }),
    s("line", { class: "zero", x1: across(0), x2: across(0), y1: 3, y2: height - 3 }),
    s("line", { class: `whisker ${tone}`, x1: across(low), x2: across(high), y1: height / 2, y2: height / 2 }),
    s("circle", { class: `point ${tone}`, cx: across(difference), cy: height / 2, r: 5.5 }),
  );
}

/** The range that holds all intervals, and zero. */
export function rangeOf(intervals) {
  const ends = [0, ...intervals.flatMap(({ low, high }) => [low, high])];
  const [least, most] = [Math.min(...ends), Math.max(...ends)];
  const room = (most - least) * 0.06 || 0.01;
  return [least - room, most + room];
}

const span = (values) => [Math.min(...values), Math.max(...values)];

/** About `count` round numbers that hold the range. */
function nice(low, high, count) {
  if (low === high) [low, high] = [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((one) => one * power >= rough) * power;
  const found = [];
  for (let at = Math.floor(low / step); at * step < high + step * 0.999; at++) found.push(at * step);
  return found;
}

const trim = (value) => String(Number(value.toPrecision(6)));
