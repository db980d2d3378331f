// Served quality: over time, by window, segment and revision, and calibration.

import { Chart } from "../chart.js";
import { empty, h, num, panel, refresh, s, table } from "../dom.js";
import { bare, count, metric, share, windowName, words } from "../format.js";
import { chooser, measured, qualityChart, roleOf } from "./common.js";

/** The calibration plot: mean score against base rate by group, the diagonal, areas by labels. */
function reliability(groups, name) {
  const size = 240;
  const edge = 34;
  const at = (value) => edge + value * (size - edge - 8);
  const up = (value) => size - edge - value * (size - edge - 8);
  const most = Math.max(1, ...groups.map((each) => each.count));
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  return s("svg", { viewBox: `0 0 ${size} ${size}`, class: "reliability", role: "img", "aria-label": `Calibration of ${name}` },
    ticks.map((tick) => [
      s("line", { x1: at(tick), x2: at(tick), y1: up(0), y2: up(1), class: "grid" }),
      s("line", { x1: at(0), x2: at(1), y1: up(tick), y2: up(tick), class: "grid" }),
      s("text", { x: at(tick), y: up(0) + 14, "text-anchor": "middle" }, tick),
      s("text", { x: at(0) - 5, y: up(tick) + 3, "text-anchor": "end" }, tick),
    ]),
    s("line", { x1: at(0), y1: up(0), x2: at(1), y2: up(1), class: "ideal" }),
    s("polyline", { points: groups.map((each) => `${at(each.score)},${up(each.rate)}`).join(" "), class: "curve" }),
    groups.map((each) => s("circle", { cx: at(each.score), cy: up(each.rate), r: 2.5 + 7 * Math.sqrt(each.count / most) }, s("title", {}, `${each.scores.replace("score=", "scores ")}: mean ${metric(each.score)}, true ${metric(each.rate)}, ${count(each.count)} labels`))),
    s("text", { x: at(0.5), y: size - 4, "text-anchor": "middle" }, "mean score"),
    s("text", { x: 10, y: up(0.5), "text-anchor": "middle", transform: `rotate(-90 10 ${up(0.5)})` }, "base rate"));
}

/** Scores of each class, and how its labels were decided: the confusion matrix. */
function byClass({ confusion, classes }) {
  const cells = Object.entries(confusion).map(([segment, each]) => [new URLSearchParams(segment), each.confusion]);
  if (!cells.length) return empty("No labels yet.");
  const named = (part) => [...new Set(cells.map(([each]) => each.get(part)))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const decisions = named("decision");
  const rows = named("outcome").map((outcome) => {
    const scores = classes[`class=${outcome}`] ?? {};
    const decided = (decision) => cells.find(([each]) => each.get("outcome") === outcome && each.get("decision") === decision)?.[1] ?? 0;
    return [outcome, ...decisions.map((each) => num(count(decided(each)))), ...["class_precision", "class_recall", "class_f1"].map((each) => num(metric(scores[each])))];
  });
  return table(["outcome", ...decisions.map((each) => num(`decided ${each}`)), num("precision"), num("recall"), num("F1")], rows, "Labels by outcome and decision");
}

export function quality(context) {
  const chart = qualityChart(context, 282);
  const over = panel("Over time", { controls: [chart.control], className: "two" });
  over.body.append(chart.root);
  let last = null;
  const model = chooser(context, "model", "Model", () => last && tables(last));
  const windows = panel("By window", { controls: [model.root], className: "wide" });
  const calibration = panel("Calibration", { note: "all labels" });
  const segments = panel("By segment");
  const revisions = panel("By revision");
  const classes = panel("By class", { note: "all labels" });
  const extra = panel("Own metrics", { note: "all labels" });
  const root = h("div", { class: "view" }, over.root, calibration.root, windows.root, classes.root, extra.root, segments.root, revisions.root);

  function tables(store) {
    last = store;
    model.offer(store.facts.models, (name) => `${name} (${roleOf(store, name)})`);
    const measurements = store.sections.quality?.[model.value];
    classes.root.hidden = store.facts.kind === "regression";
    extra.root.hidden = !store.facts.extra.length;
    if (!measurements) {
      for (const each of [windows, segments, revisions, calibration, classes, extra]) refresh(each.body, empty("No labels yet."));
      return;
    }
    const names = measured(store).slice(0, 10);
    const grid = (slices, label, caption, most = 10) => {
      const found = Object.entries(slices);
      if (!found.length) return empty("None.");
      const has = names.filter((name) => found.some(([, each]) => each[name] !== undefined)).slice(0, most);
      const rows = found.map(([name, each]) => [label(name), num(count(each.count)), ...has.map((one) => num(bare(metric(each[one], store.facts.units[one]?.unit))))]);
      return table(["slice", num("labels"), ...has.map((name) => num(words(name)))], rows, `Metrics by ${caption}`);
    };
    const order = [store.facts.rolling, store.facts.window, "all"];
    const place = (name) => (order.indexOf(name) + 1 || 9);
    const { waiting, ...seen } = measurements.windows;
    refresh(windows.body, grid(Object.fromEntries(Object.entries(seen).sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b, "en", { numeric: true }))), windowName, "window"));
    refresh(segments.body, Object.keys(measurements.segments).length ? grid(measurements.segments, String, "segment", 3) : empty("The task has no segments. Set MetricRules(segments=…)."));
    refresh(revisions.body, grid(measurements.revisions, String, "revision", 3));
    refresh(classes.body, byClass(measurements));
    const slices = Object.entries({ "all labels": measurements.windows.all ?? {}, ...measurements.segments }).filter(([, each]) => store.facts.extra.some((name) => each[name] !== undefined));
    refresh(extra.body, slices.length ? table(["slice", num("labels"), ...store.facts.extra.map((name) => num(words(name)))], slices.map(([name, each]) => [name, num(count(each.count)), ...store.facts.extra.map((one) => num(metric(each[one])))]), "The task's own metrics by slice") : empty("None has a value yet."));
    const groups = store.sections.calibration?.[model.value] ?? [];
    const all = measurements.windows.all ?? {};
    refresh(calibration.body, groups.length
      ? h("div", { class: "calibration" }, reliability(groups, model.value), h("dl", {},
          [["ECE", share(all.ece)], ["slope", metric(all.calibration_slope)], ["intercept", metric(all.calibration_intercept)], ["base rate", share(all.base_rate)], ["mean score", share(all.mean_score)], ...(waiting ? [["estimated accuracy of pending", share(waiting.estimated_accuracy)]] : [])]
            .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
          h("p", { class: "empty" }, "Calibrated scores lie on the diagonal. ECE is the mean distance from it. A slope below 1 means that scores are too extreme, an intercept above 0 that they are too low."))
      : empty(store.facts.kind === "binary" ? "No labels yet." : "Calibration is measured for binary tasks only."));
  }

  return {
    root,
    update(store, rows) {
      if (rows) {
        chart.draw(store);
        over.note(store.facts.rolling.replace("last_", "last ") + " labels");
      }
      tables(store);
    },
  };
}
