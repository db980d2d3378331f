// Parts shared by several views.

import { Chart, marksOf, spansOf } from "../chart.js";
import { h, text } from "../dom.js";
import { metric, seconds, time, words } from "../format.js";

/** What a model does: served, shadow or retired. */
export const roleOf = (store, model) => store.sections.models.find((each) => each.model === model)?.role ?? "shadow";

/** The models of the worker that answer, the largest share first; the file's first one while the log has none. */
export function servedModels(store) {
  const { models } = store.sections.worker;
  const served = models.filter((each) => each.share > 0).sort((a, b) => b.share - a.share);
  return served.length ? served : models.slice(0, 1);
}

/** Metrics of the task's kind that are measured over the rolling window, in the order of their importance. */
export function measured(store) {
  const order = ["roc_auc", "log_loss", "accuracy", "f1", "pr_auc", "brier", "precision", "recall", "ece", "mae", "rmse", "r2", "base_rate", "mean_score", "estimated_accuracy", "estimated_roc_auc", "estimate_gap"];
  const found = new Set(Object.values(store.sections.quality ?? {}).flatMap((each) => Object.keys(each.windows[store.facts.rolling] ?? {})));
  found.delete("count");
  return [...order.filter((name) => found.has(name)), ...[...found].filter((name) => !order.includes(name)).sort()];
}

/** A select that offers the given names and keeps the user's choice. */
export function chooser(context, key, label, changed) {
  const select = h("select", { "aria-label": label, "data-key": key });
  const made = { root: select, value: "" };
  let chosen = context.kept(key, "");
  select.addEventListener("change", () => {
    made.value = chosen = select.value;
    context.keep(key, chosen);
    changed();
  });
  made.offer = (names, shown = words) => {
    const before = [...select.options].map((option) => option.value).join();
    if (before !== names.join()) select.replaceChildren(...names.map((name) => h("option", { value: name }, shown(name))));
    // Until somebody has chosen it is the most important one that there is.
    made.value = names.includes(chosen) ? chosen : (names[0] ?? "");
    select.value = made.value;
  };
  return made;
}

/** The chart of a metric of all models over time, with its chooser. */
export function qualityChart(context, height) {
  const chart = new Chart({ height, label: "Served quality over time", format: (value) => metric(value, "ratio") });
  let last = null;
  const choice = chooser(context, "metric", "Metric", () => last && draw(last));
  function draw(store) {
    last = store;
    choice.offer(measured(store));
    const log = store.histories.log;
    const lines = store.facts.models.map((model) => ({ name: model, values: log?.values[`${choice.value}|${model}|`], shadow: roleOf(store, model) === "shadow" }));
    const unit = store.facts.units[choice.value]?.unit;
    chart.format = (value) => (unit === "nats" ? value.toFixed(3) : metric(value, unit));
    chart.draw(log?.[context.axis] ?? [], lines, { spans: spansOf((store.sections.episodes ?? []).filter(pages), context.axis), marks: marksOf(store.sections.versions, context.axis) });
  }
  return { root: chart.root, control: choice.root, draw };
}

/** A number with its name above it. */
export function figure(name, title) {
  const value = h("strong", {}, "–");
  const more = h("small", {});
  return { root: h("div", { class: "figure", title }, h("span", {}, name), value, more), set: (shown, below = "") => { text(value, shown); text(more, below); } };
}

/** A bar from 0 to 1 with its value in words. */
export const bar = (part, shown, className = "") => h("div", { class: `bar ${className}` }, h("i", { "width%": 100 * (part || 0) }), h("span", {}, shown));

/** Whether an episode is above severity info. */
export const pages = (each) => each.severity !== "info";

/** State of an episode. */
export const stateOf = (each) => (each.state === "closed" ? "closed" : each.held_back ? "held back" : "open");

/** Start, end and duration of an episode, in event time. */
export function spell(each) {
  const end = each.state === "closed" ? each.ts : null;
  return end === null ? `open since ${time(each.opened_ts)}` : `${time(each.opened_ts)} to ${time(end)}, ${seconds((end - each.opened_ts) / 1000)}`;
}

/** Which of two compared models is better, where the interval of their difference leaves out 0: 1 the shadow, -1 the served one. */
export const better = (gain) => (gain && gain.low > 0 ? 1 : gain && gain.high < 0 ? -1 : 0);
