// Drift: signals over time, and episodes with their evidence.

import { Chart, spansOf } from "../chart.js";
import { empty, h, panel, refresh } from "../dom.js";
import { count, metric, time, words } from "../format.js";
import { pages, roleOf, spell, stateOf } from "./common.js";

const MEANS = {
  excess_log_loss: "log loss minus the entropy of the score",
  error: "share of incorrect decisions",
  label_mean: "share of positives",
  score_mean: "mean score",
};

function evidence(each) {
  const found = each.evidence;
  const rows = [
    ["signal", `${words(each.signal)} ${each.direction === "none" ? "" : each.direction}${each.feature ? ` of ${each.feature}` : ""}`],
    ["model", each.version || each.model || "the whole task"],
    ["earlier", `${metric(found.reference)} over ${count(found.reference_count)} events`],
    ["recent", `${metric(found.recent)} over ${count(found.recent_count)} events`],
    [found.statistic || "statistic", `${metric(found.value)} threshold ${metric(found.threshold)}`],
    ["detector", found.detector],
    ["opened", `${time(each.opened_ts)}, published ${time(each.opened_at)}`],
    ["latest step", `${time(each.ts)}, ${count(each.alarms)} alarms`],
    ["closed", each.ended || "open"],
    ["episode", each.episode],
  ];
  return h("dl", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

export function drift(context) {
  const list = panel("Episodes");
  const signals = h("div", { class: "signals" });
  const charts = {};
  const opened = new Set();
  const root = h("div", { class: "view" }, signals, list.root);

  function episodes(store) {
    const all = store.sections.episodes;
    const open = all.filter((each) => each.state !== "closed");
    list.note(`${open.filter(pages).length} open, ${all.filter(pages).length} in all; ${all.filter((each) => !pages(each)).length} informational`);
    const rank = (each) => (each.state === "closed" ? 2 : 0) + (pages(each) ? 0 : 1);
    const ordered = [...all].sort((a, b) => rank(a) - rank(b));
    const item = (each) => {
      const details = h("details", { class: `${each.severity} ${each.state}`, open: opened.has(each.episode) },
        h("summary", { "data-key": each.episode }, h("b", {}, `${pages(each) ? each.severity : "info"}, ${stateOf(each)} · ${each.family}`), h("span", {}, each.text), h("small", {}, spell(each))), evidence(each));
      details.addEventListener("toggle", () => (details.open ? opened.add(each.episode) : opened.delete(each.episode)));
      return details;
    };
    refresh(list.body, ordered.length ? h("div", { class: "episodes" }, ordered.map(item)) : empty("No episodes yet."));
  }

  function draw(store) {
    const log = store.histories.log;
    const names = [...new Set(Object.values(store.sections.signals ?? {}).flatMap((each) => Object.keys(each)))];
    for (const name of names) {
      if (!charts[name]) {
        const chart = new Chart({ height: 200, label: `Signal ${words(name)} over time`, format: (value) => value.toFixed(3) });
        const box = panel(words(name), { note: MEANS[name] ?? "" });
        box.body.append(chart.root);
        charts[name] = chart;
        signals.append(box.root);
      }
      const spans = spansOf((store.sections.episodes ?? []).filter((each) => each.signal === name || each.family === "outage"), context.axis);
      charts[name].draw(log?.[context.axis] ?? [], store.facts.models.map((model) => ({ name: model, values: log?.values[`signal_mean|${model}|${name}`], shadow: roleOf(store, model) === "shadow" })), { spans });
    }
  }

  let shown = "";
  return {
    root,
    update(store, rows) {
      // Redraw on changes only, so that an open episode stays readable.
      const now = JSON.stringify(store.sections.episodes);
      if (now !== shown) episodes(store);
      shown = now;
      if (rows) draw(store);
    },
  };
}
