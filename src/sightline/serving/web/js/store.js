// The state of the page: one value, changed in one place, told to whoever draws it.
import { address, read, START } from "./address.js";

let state = read();
const drawers = [];

export const current = () => state;

/** `draw(state, before)` is called after every change. */
export function onChange(draw) {
  drawers.push(draw);
}

/** Change the state; `instead` replaces the entry of the history, for changes that nobody goes back over. */
export function go(patch, { instead = false } = {}) {
  const before = state;
  state = { ...state, ...patch };
  const place = address(state);
  if (place !== address(before)) history[instead ? "replaceState" : "pushState"](null, "", place);
  tell(before);
}

/** An address of the state with some of it changed, for links. */
export const link = (patch) => address({ ...state, ...patch });

/** A new search, keeping how is searched. */
export function fresh(patch = {}) {
  const { mode, balance, k, dims, rerank, depth } = state;
  return { ...START, mode, balance, k, dims, rerank, depth, ...patch };
}

/** A plain click on a link changes the state; with a modifier the browser does what it does. */
export function followed(event, patch, options) {
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button > 0) return;
  event.preventDefault();
  go(patch, options);
}

addEventListener("popstate", () => {
  const before = state;
  state = read();
  tell(before);
});

function tell(before) {
  for (const draw of drawers) draw(state, before);
}
