// Outcomes: delays, maturity by age, resolutions, coverage over time.

import { Chart } from "../chart.js";
import { empty, h, num, panel, refresh, table } from "../dom.js";
import { count, seconds, share, windowName } from "../format.js";
import { bar } from "./common.js";

const RESOLUTIONS = [
  ["labelled", "outcome in time"],
  ["expired", "no outcome by the deadline"],
  ["late", "outcome after its expiry"],
  ["revised", "outcome corrected"],
  ["unavailable", "no outcome will come"],
  ["early", "outcome before its prediction"],
  ["orphan", "outcome without a prediction"],
  ["duplicate_prediction", "further prediction of a request"],
  ["duplicate_outcome", "identical outcome again"],
  ["stale_revision", "correction older than the current outcome"],
];

export function labels(context) {
  const delays = panel("Delays", { note: "quantiles" });
  const maturity = panel("Maturity", { note: "share of resolutions with an outcome, by age" });
  const resolutions = panel("Resolutions");
  const waiting = new Chart({ height: 170, label: "Pending predictions over time", format: count });
  const wait = panel("Pending", { note: "predictions without a resolution", className: "wide" });
  wait.body.append(waiting.root);
  const covered = new Chart({ height: 170, label: "Coverage over time", format: share, range: [0, 1] });
  const coverage = panel("Coverage", { note: "predictions with a first resolution", className: "wide" });
  coverage.body.append(covered.root);
  const root = h("div", { class: "view" }, delays.root, maturity.root, resolutions.root, wait.root, coverage.root);

  return {
    root,
    update(store, rows) {
      const delay = store.sections.labels;
      const { values, counts } = store.sections.loop;
      const horizon = store.facts.horizon_s;
      const line = (name, words) => [words, ...["p50", "p90", "p99"].map((each) => num(seconds(delay[name]?.[each]?.value)))];
      refresh(delays.body,
        table(["delay", num("p50"), num("p90"), num("p99")], [line("outcome_delay", "request → outcome"), line("report_delay", "outcome → arrival")], "Delays"),
        h("dl", {}, [["horizon", seconds(horizon)], ["oldest pending", seconds(values.oldest_waiting)], ["watermark lag", seconds(values.watermark_lag)]].map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
      const cohorts = Object.entries(delay.label_rate ?? {}).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
      refresh(maturity.body, cohorts.length
        ? h("div", { class: "bars" }, cohorts.map(([name, each]) => [h("span", {}, windowName(name)), bar(each.value, share(each.value)), h("small", {}, `${count(each.count)} resolved`)]))
        : empty("No resolutions yet."));
      refresh(resolutions.body, table(["resolution", num("count"), "meaning"], RESOLUTIONS.filter(([name]) => values[name] || counts[name]).map(([name, means]) => [name.replaceAll("_", " "), num(count(values[name] ?? counts[name])), means]), "Resolutions"));
      if (!rows) return;
      const log = store.histories.log;
      const x = log?.[context.axis] ?? [];
      waiting.draw(x, [{ name: "pending", values: log?.values["waiting||"] }]);
      covered.draw(x, [{ name: "coverage", values: log?.values["coverage||"] }]);
    },
  };
}
