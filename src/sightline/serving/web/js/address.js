// What is looked at, in the address bar: links can be shared and the back button works.
const LISTS = { docs: "doc", langs: "lang", kinds: "kind", runs: "run" };

export const START = Object.freeze({
  view: "search",
  q: "",
  image: null,
  mode: "hybrid",
  balance: 0.5,
  k: 10,
  dims: null,
  rerank: null,
  depth: null,
  docs: [],
  langs: [],
  kinds: [],
  version: null,
  page: null,
  heat: false,
  runs: [],
});

/** The state that an address says. */
export function read(search = location.search) {
  const given = new URLSearchParams(search);
  const number = (name, fallback) => {
    const value = Number(given.get(name));
    return given.has(name) && Number.isFinite(value) ? value : fallback;
  };
  const state = { ...START };
  state.view = given.get("view") === "models" ? "models" : "search";
  state.q = given.get("q") ?? "";
  state.image = given.get("image");
  state.mode = ["hybrid", "vector", "text"].includes(given.get("mode")) ? given.get("mode") : "hybrid";
  state.balance = Math.min(1, Math.max(0, number("balance", 0.5)));
  state.k = Math.min(100, Math.max(1, Math.round(number("k", 10))));
  state.dims = number("dims", null);
  state.rerank = given.has("rerank") ? given.get("rerank") === "1" : null;
  state.depth = number("depth", null);
  state.version = given.get("version");
  state.page = given.get("page");
  state.heat = given.get("heat") === "1";
  for (const [name, key] of Object.entries(LISTS)) state[name] = given.getAll(key);
  return state;
}

/** The address of a state: what is as usual is left out. */
export function address(state) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name in LISTS) value.forEach((one) => found.append(LISTS[name], one));
    else if (value !== START[name] && value != null && value !== "") found.set(name, typeof value === "boolean" ? Number(value) : value);
  }
  const text = found.toString();
  return text ? `?${text}` : location.pathname;
}

/** What decides which pages are found, as a string that is equal for equal searches. */
export function searchKey(state) {
  const { q, image, mode, balance, k, dims, rerank, depth, docs, langs, kinds, version } = state;
  return JSON.stringify([q.trim(), image, mode, balance, k, dims, rerank, depth, docs, langs, kinds, version]);
}

/** The question without how it is searched for: results of equal questions can be compared. */
export function questionKey({ q, image, docs, langs, kinds, k }) {
  return JSON.stringify([q.trim(), image, docs, langs, kinds, k]);
}
