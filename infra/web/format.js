// Numbers as a person reads them, always with their unit, from which no line break parts them.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const none = "–";
const NBSP = "\u00a0";
const known = (value) => typeof value === "number" && Number.isFinite(value);

/** 12,345; 1.23 M. */
export function count(value) {
  if (!known(value)) return none;
  return Math.abs(value) >= 1e7 ? `${(value / 1e6).toPrecision(3)}${NBSP}M` : whole.format(value);
}

/** 1,234 /s; 3.2 /s. */
export function rate(value) {
  if (!known(value)) return none;
  if (value > 0 && value < 0.05) return `${(value * 3600).toPrecision(2)}${NBSP}/h`;
  return `${value >= 20 ? whole.format(value) : value >= 0.05 ? value.toFixed(1) : "0"}${NBSP}/s`;
}

/** 12 ms, 3.4 s, 5 min, 2.1 h, 17 d. */
export function seconds(value) {
  if (!known(value)) return none;
  const size = Math.abs(value);
  const [by, unit] = size < 1 ? [1e-3, "ms"] : size < 120 ? [1, "s"] : size < 7200 ? [60, "min"] : size < 172800 ? [3600, "h"] : [86400, "d"];
  const shown = value / by;
  return `${Math.abs(shown) >= 20 || shown === 0 ? whole.format(shown) : shown.toFixed(1)}${NBSP}${unit}`;
}

/** 98.2 %. */
export const share = (value) => (known(value) ? `${(100 * value).toFixed(Math.abs(value) < 0.1 && value !== 0 ? 2 : 1)}${NBSP}%` : none);

/** A metric's value with its unit; a ratio has none. */
export function metric(value, unit) {
  if (!known(value)) return none;
  if (unit === "seconds") return seconds(value);
  if (unit === "count") return count(value);
  const shown = Math.abs(value) >= 1000 ? whole.format(value) : value.toFixed(4);
  return unit === "nats" ? `${shown}${NBSP}nats` : shown;
}

/** A value without its unit, for where the unit stands elsewhere. */
export const bare = (shown) => shown.replace(/\u00a0(nats|\/s)$/, "");

/** A metric's name as words. */
export const words = (name) => ({ roc_auc: "ROC AUC", pr_auc: "PR AUC", ece: "ECE", f1: "F1", mae: "MAE", rmse: "RMSE", r2: "R²" })[name] ?? name.replaceAll("_", " ");

/** 2017-03-01 12:30 UTC. */
export function time(ms, precise = false) {
  if (!known(ms) || ms <= 0 || ms > 8.64e15) return none;
  return `${new Date(ms).toISOString().slice(0, precise ? 19 : 16).replace("T", NBSP).replaceAll("-", "\u2060-\u2060")}${NBSP}UTC`;
}

/** How long ago, as 3 s ago. */
export const ago = (ms, now) => (known(ms) && ms > 0 ? `${seconds(Math.max(0, Math.round((now - ms) / 1000)) || 0.001).replace(/^1(\.0)?\u00a0ms$/, `0${NBSP}s`)} ago` : none);

export const windowName = (name) =>
  name === "all" ? "all labels" : name.startsWith("last_") ? `last ${count(Number(name.slice(5)))}` : name === "age_mature" ? "mature" : name.startsWith("age_") ? `age ${name.slice(4).replaceAll("-", "\u2060-\u2060")}` : name.replace("window_", "last ");
