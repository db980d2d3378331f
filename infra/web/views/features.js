// Data quality: each feature against its reference, and the counts of requests.

import { empty, h, num, panel, refresh, s, table } from "../dom.js";
import { count, share } from "../format.js";
import { bar } from "./common.js";

const LOW = 0.25;

/** A line without axes, as high as its highest value, and never so high that noise fills it. */
function spark(values) {
  const known = (values ?? []).filter((value) => value !== null && value !== undefined).slice(-120);
  if (known.length < 2) return "";
  const high = Math.max(LOW, ...known);
  const points = known.map((value, index) => `${((100 * index) / (known.length - 1)).toFixed(1)},${(20 - (19 * Math.max(0, value)) / high).toFixed(1)}`);
  return s("svg", { viewBox: "0 0 100 21", class: "spark", "aria-hidden": "true", preserveAspectRatio: "none" }, s("polyline", { points: points.join(" ") }));
}

/** The part of an open episode's text about a feature, as in "PSI of NAME 0.31 (mean 221 days, now 95.8)". */
function textOf(episodes, name) {
  const found = episodes.find((each) => each.state !== "closed" && (each.feature === name || each.text.includes(` ${name} `)));
  if (!found) return undefined;
  const part = found.text.split("; ").find((each) => each.includes(` ${name} `)) ?? found.text;
  return part.match(/\((.*)\)/)?.[1] ?? part;
}

/** Whether a PSI is marked, and the reason: above its limit, unless the same season had it last year. */
function mark(values_, why) {
  const { psi, psi_limit: limit, psi_season: season } = values_;
  if (limit === undefined || psi <= limit) return { marked: false, why: limit === undefined ? "" : `within ${limit.toFixed(2)}` };
  if (season !== undefined && season < (2 / 3) * psi) return { marked: false, why: `as in this season last year (PSI ${season.toFixed(2)})` };
  return { marked: true, why: `above ${limit.toFixed(2)}${why ? `: ${why}` : ""}` };
}

export function features() {
  const all = panel("Features", { note: "last window against the reference, highest PSI first", className: "wide" });
  const arriving = panel("Requests");
  const root = h("div", { class: "view" }, all.root, arriving.root);
  return {
    root,
    update(store) {
      const found = store.sections.features;
      const known = Object.entries(store.facts.features);
      const weight = ([name]) => found[name]?.psi ?? -1;
      const part = (value) => (value === undefined ? num("–") : { text: bar(value, share(value)), class: "cell" });
      const most = Math.max(LOW, ...Object.values(found).map((each) => each.psi ?? 0));
      const rows = known.sort((a, b) => weight(b) - weight(a)).map(([name, facts]) => {
        const values_ = found[name] ?? {};
        const { marked, why } = values_.psi === undefined ? { marked: false, why: "" } : mark(values_, textOf(store.sections.episodes, name));
        return [
          { text: [name, " ", h("small", {}, facts.unit || facts.type)], class: "name" },
          values_.psi === undefined ? { text: h("small", {}, values_.count === undefined ? "not monitored" : "too few values"), class: "cell" } : { text: bar(values_.psi / most, values_.psi.toFixed(3), marked ? "warn" : ""), class: "cell" },
          { text: h("small", {}, why), class: "why" },
          { text: spark(store.histories.requests?.values[`feature_psi||${name}`]), class: "cell" },
          num(values_.js === undefined ? "–" : values_.js.toFixed(4)),
          part(values_.missing),
          part(values_.outside),
          part(values_.unseen),
          num(count(values_.count)),
        ];
      });
      const head = ["feature", { text: "PSI", title: "Population stability index minus its expectation without drift, nats" }, "drift", "over time", { text: "JS", class: "num", title: "Jensen-Shannon divergence minus its expectation without drift, nats" }, "missing", "outside", "unseen", num("values")];
      refresh(all.body, Object.keys(found).length ? table(head, rows, "Features") : empty("Too few requests yet for a reference."));
      const { values } = store.sections.loop;
      const lines = [["requests", "answered"], ["requests_rejected", "rejected, see dead letters"], ["requests_repeated", "id already answered"], ["requests_disordered", "out of order"], ["requests_counted_late", "counted late"]];
      const odd = { "warned unknown_field ": "unknown fields near ", "warned outside ": "out of range: " };
      for (const name of Object.keys(values)) {
        for (const [start, means] of Object.entries(odd)) {
          if (name.startsWith(start)) lines.push([name, means + name.slice(start.length)]);
        }
      }
      refresh(arriving.body, values.requests === undefined ? empty("No requests yet.") : table(["requests", num("count"), num("share")], lines.map(([name, means]) => [means, num(count(values[name])), num(share(values[name] / Math.max(1, values.requests + (values.requests_rejected ?? 0))))]), "Requests"));
    },
  };
}
