// Numbers and names for people.
export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** Milliseconds: "2.1 ms", "18 ms", "1.24 s". */
export function milliseconds(value) {
  if (value >= 1000) return `${(value / 1000).toFixed(2)}\u00a0s`;
  return value >= 10 ? `${Math.round(value)}\u00a0ms` : `${value.toFixed(1)}\u00a0ms`;
}

export const decimal = (value, digits = 3) => (value == null ? "–" : value.toFixed(digits));
export const signed = (value, digits = 3) => (value >= 0 ? "+" : "\u2212") + Math.abs(value).toFixed(digits);

/** A score as it is told: small ones with as many digits as tell them apart. */
export const score = (value) => (Math.abs(value) < 0.1 ? value.toFixed(4) : value.toFixed(3)).replace("-", "\u2212");

/** "ndcg@10" -> "NDCG@10". */
export function metricName(name) {
  const [before, ...at] = name.split("@");
  const known = { ndcg: "NDCG", map: "MAP", mrr: "MRR", recall: "Recall", precision: "Precision", accuracy: "Accuracy" };
  return [known[before] ?? before.replaceAll("_", " "), ...at].join("@");
}

export function day(iso) {
  return iso ? new Date(iso).toLocaleDateString("en", { year: "numeric", month: "short", day: "numeric" }) : "";
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** The last part of a path, which people know a model by; names on the Hub stay whole. */
export function shortName(name) {
  const parts = name.split(/[/\\]/).filter(Boolean);
  return parts.length > 2 || /^[/.~]/.test(name) ? parts.slice(-2).join("/") : name;
}

export const VIEWS = { text: "text layer", image: "page image", both: "text and image" };
