// Overview: five stages, served quality, episodes, health.

import { Chart } from "../chart.js";
import { empty, h, panel, refresh, table, text } from "../dom.js";
import { ago, bare, count, metric, rate, seconds, share, words } from "../format.js";
import { better, figure, measured, pages, qualityChart, roleOf, servedModels, spell, stateOf } from "./common.js";

function stage(name, title) {
  const parts = { speed: h("strong", {}, "–"), total: h("span", {}, "–"), lag: h("span", { class: "lag" }, "–"), more: h("small", {}, "") };
  const root = h("li", { class: "stage", "data-stage": name, title }, h("h2", {}, name), parts.speed, parts.total, parts.lag, parts.more);
  return {
    root,
    set(speed, total, lag, more, late) {
      text(parts.speed, speed);
      text(parts.total, total);
      text(parts.lag, lag);
      text(parts.more, more);
      root.classList.toggle("late", late);
    },
  };
}

/** Lag of a stage in records, and in time at its rate. */
function lag(records, speed) {
  if (records === undefined || records === null) return "lag unknown";
  const time = records > 0 && speed > 0 ? ` ≈ ${seconds(records / speed)}` : "";
  return `lag ${count(records)}${time}`;
}

/** Skipped entries and failures of a model in one line; empty when there are none. */
export function troubleOf(model) {
  const passed = model.skipped ? `skipped ${count(model.skipped)} entries${model.lately_skipped ? `, ${count(model.lately_skipped)} of the last 1,000` : ""}` : "";
  const parts = [model.stopped ? `stopped learning at log offset ${count(model.stopped.offset)}` : "", passed, model.failures ? `failed to score ${count(model.failures)} requests` : ""].filter(Boolean);
  return parts.length ? `${model.model} ${model.role}: ${parts.join(", ")}` : "";
}

/** Lag on topics outside the task, which give its outcomes or its requests. */
const outside = (lags) => Object.entries(lags).filter(([name, records]) => !["requests", "predictions", "outcomes"].includes(name) && records > 0).map(([name, records]) => `${name} ${lag(records, 0)}`);

const isLate = (records, speed) => records > 0 && (speed > 0 ? records / speed > 30 : records > 1000);

export function loop(context) {
  const stages = {
    requests: stage("requests", "Requests answered and rejected by all workers; lag on the topic"),
    predictions: stage("predictions", "Predictions joined; lag of the join"),
    waiting: stage("waiting", "Predictions pending for an outcome"),
    resolved: stage("resolved", "First resolutions: labelled, expired or unavailable; lag of outcomes"),
    learned: stage("learned", "Examples learned by the served model in this worker; lag of the log"),
  };
  const back = h("span", {}, "");
  const strip = h("section", { class: "loop", "aria-label": "The loop" }, h("ol", {}, Object.values(stages).map((each) => each.root)), h("p", { class: "back" }, back));
  const chart = qualityChart(context, "fill");
  const main = panel("Served quality", { controls: [chart.control], className: "grow" });
  main.body.append(chart.root);
  const now = panel("Now");
  const alarms = panel("Episodes");
  for (const [name, value] of Object.entries({ tabindex: 0, role: "region", "aria-label": "Open and recent episodes" })) alarms.body.setAttribute(name, value);
  const speed = new Chart({ height: 104, label: "Rates over time", format: (value) => bare(rate(value)) });
  const pace = panel("Rates", { note: "per second" });
  pace.body.append(speed.root);
  const figures = {
    coverage: figure("coverage", "Predictions with a first resolution"),
    delay: figure("outcome delay", "Median; 99th percentile"),
    fresh: figure("freshness", "Time from an outcome's arrival until this worker has learned it"),
    rejected: figure("rejected", "Requests rejected"),
  };
  const health = panel("Health");
  const troubles = h("p", { class: "troubles" });
  health.body.append(h("div", { class: "figures" }, Object.values(figures).map((each) => each.root)), troubles);
  const root = h("div", { class: "view overview" }, strip, main.root, h("div", { class: "side" }, now.root, alarms.root), pace.root, health.root);

  function flow(store) {
    const { loop: state, worker } = store.sections;
    const { rates, counts, values } = state;
    const answering = servedModels(store);
    const [champion] = answering;
    const asked = (counts.requests ?? 0) + (counts.requests_rejected ?? 0);
    const speedOf = (name) => rates[name] ?? 0;
    const arriving = speedOf("requests") + speedOf("requests_rejected");
    const lags = worker.lag;
    stages.requests.set(rate(rates.requests === null ? null : arriving), `${count(asked)} total`, lag(lags.requests, arriving), `${count(counts.requests_rejected ?? 0)} rejected`, isLate(lags.requests, arriving));
    stages.predictions.set(rate(rates.predictions), `${count(counts.predictions)} total`, lag(lags.predictions, speedOf("predictions")), `${count(values.early ?? 0)} early outcomes`, isLate(lags.predictions, speedOf("predictions")));
    const horizon = store.facts.horizon_s;
    stages.waiting.set(count(values.waiting), `${share(values.coverage)} resolved`, `oldest ${seconds(values.oldest_waiting)}`, `horizon ${seconds(horizon)}`, values.oldest_waiting > 1.1 * horizon);
    const kinds = ["labelled", "expired", "late", "revised", "unavailable"].filter((name) => counts[name]).map((name) => `${count(counts[name])} ${name}`);
    stages.resolved.set(rate(rates.resolved), `${count(counts.resolved)} total`, lag(lags.outcomes, speedOf("outcomes")), [kinds.slice(0, 2).join(" · ") || "none yet", ...outside(lags)].join(" · "), isLate(lags.outcomes, speedOf("outcomes")));
    // The last offset is the commit marker of the newest entry.
    const unread = worker.log_end === null ? null : Math.max(0, worker.log_end - worker.next_offset - 1);
    stages.learned.set(rate(worker.learned_rate), `${count(champion.learned)} total`, lag(unread, worker.learned_rate), `p99 ${seconds(worker.freshness_ms.p99 / 1000)} after arrival`, isLate(unread, worker.learned_rate));
    text(back, answering.length > 1 ? answering.map((each) => `${each.version} ${share(each.share)}`).join(", ") : `${champion.version} answers the next request`);
    figures.coverage.set(share(values.coverage), `${count(values.waiting)} pending`);
    const delay = store.sections.labels.outcome_delay ?? {};
    figures.delay.set(seconds(delay.p50?.value), `p99 ${seconds(delay.p99?.value)}`);
    figures.fresh.set(worker.freshness_ms.count ? seconds(worker.freshness_ms.p50 / 1000) : "–", `p99 ${worker.freshness_ms.count ? seconds(worker.freshness_ms.p99 / 1000) : "–"}`);
    figures.rejected.set(count(counts.requests_rejected ?? 0), `${count(store.sections.dead_letters.counted)} dead letters`);
    text(troubles, worker.models.map(troubleOf).filter(Boolean).join("; "));
    now.note(ago(state.metrics_at, store.time));
  }

  function scores(store) {
    const models = store.facts.models;
    const names = measured(store).filter((name) => !name.startsWith("estimate")).slice(0, 6);
    if (!names.length) return refresh(now.body, empty("No labels yet."));
    const value = (model, name) => store.sections.quality?.[model]?.windows[store.facts.rolling]?.[name];
    // Better is marked where it is known: of the loss there is an interval, of the others there is none.
    const { gains } = store.sections;
    const compared = store.facts.kind === "regression" ? "mae" : "log_loss";
    // Gains are of shadows. Of several models that answer none is compared with another one.
    const alone = servedModels(store).length === 1;
    const shadows = models.filter((model) => roleOf(store, model) === "shadow" && gains[model]);
    const served = alone && shadows.length > 0 && shadows.every((model) => better(gains[model]) < 0);
    const isBetter = (model, name) => name === compared && (roleOf(store, model) === "served" ? served : alone && better(gains[model]) > 0);
    const rows = names.map((name) => {
      const { unit } = store.facts.units[name];
      return [words(name), ...models.map((model) => ({ text: bare(metric(value(model, name), unit)), class: `num${isBetter(model, name) ? " best" : ""}`, title: isBetter(model, name) ? "Better on the same requests: the 95 % interval of the difference excludes 0" : undefined }))];
    });
    const head = ["metric", ...models.map((model) => ({ text: `${model} ${roleOf(store, model)}`, class: "num" }))];
    return refresh(now.body, table(head, rows, "Metrics of the rolling window by model"));
  }

  function episodes(store) {
    const all = store.sections.episodes;
    const open = all.filter((each) => each.state !== "closed");
    const paging = all.filter(pages);
    alarms.note(`${open.filter(pages).length} open, ${paging.length} in all; ${all.length - paging.length} informational`);
    const shown = [...paging.filter((each) => each.state !== "closed"), ...open.filter((each) => !pages(each)), ...paging.filter((each) => each.state === "closed")].slice(0, 4);
    refresh(alarms.body, shown.length ? h("ul", { class: "episodes" }, shown.map((each) => h("li", { class: `${each.severity} ${each.state}` }, h("b", {}, `${pages(each) ? "" : "info, "}${stateOf(each)} · ${each.family}`), " ", h("small", {}, spell(each)), " ", h("span", { title: each.ended || each.text }, each.text)))) : empty("No episodes yet."));
  }

  return {
    root,
    update(store, rows) {
      flow(store);
      scores(store);
      episodes(store);
      if (!rows) return;
      main.note(store.facts.rolling.replace("last_", "last ") + " labels");
      chart.draw(store);
      const log = store.histories.log;
      speed.draw(log?.[context.axis] ?? [], [
        { name: "predictions", values: log?.values["predictions_rate||"] },
        { name: "resolved", values: log?.values["resolved_rate||"], shadow: true },
      ]);
    },
  };
}
