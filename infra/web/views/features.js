// What comes in, feature by feature, against what came in before; and what was refused.

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

/** Whether an open episode is about the feature: what counts as moved depends on how many values there are. */
const moved = (episodes, name) => episodes.some((each) => each.state !== "closed" && (each.feature === name || each.text.includes(` ${name} `)));

export function features() {
  const all = panel("Features", { note: "the last window against the reference; moved most first; marked while an episode is open", className: "wide" });
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
        const told = found[name] ?? {};
        return [
          { text: [name, " ", h("small", {}, facts.unit || facts.type)], class: "name" },
          told.psi === undefined ? { text: h("small", {}, told.count === undefined ? "not watched" : "too few"), class: "cell" } : { text: bar(told.psi / most, told.psi.toFixed(3), moved(store.sections.episodes, name) ? "warn" : ""), class: "cell" },
          { text: spark(store.histories.requests?.values[`feature_psi||${name}`]), class: "cell" },
          num(told.js === undefined ? "–" : told.js.toFixed(4)),
          part(told.missing),
          part(told.outside),
          part(told.unseen),
          num(count(told.count)),
        ];
      });
      const head = ["feature", { text: "PSI", title: "Population stability index above what chance gives, nats" }, "over time", { text: "JS", class: "num", title: "Jensen-Shannon divergence above what chance gives, nats" }, "missing", "outside", "unseen", num("values")];
      refresh(all.body, Object.keys(found).length ? table(head, rows, "Features") : empty("Too few requests have come to judge: a reference is learned from the first ones."));
      const { values } = store.sections.loop;
      const lines = [["requests", "answered"], ["requests_refused", "refused: see the dead letters"], ["requests_repeated", "with an id that had been answered"], ["requests_disordered", "older than one before them"], ["requests_counted_late", "counted after their minute was closed"]];
      refresh(arriving.body, values.requests === undefined ? empty("No request has come yet.") : table(["", num("count"), num("share")], lines.map(([name, means]) => [means, num(count(values[name])), num(share(values[name] / Math.max(1, values.requests + (values.requests_refused ?? 0))))]), "Requests"));
    },
  };
}
