// The leaderboard of a race among the models.

import { h } from "../dom.js";
import { count, metric } from "../format.js";

const HEAD = ["model", "status", "recent loss", "gain over the leader", "interval", "requests", "why"];

/** Cells of a line. */
function cells(line) {
  const leads = line.status === "leads";
  const known = line.count > 0;
  return [line.status, known ? metric(line.loss) : "–", leads || !known ? "–" : metric(line.gain), leads || line.low === null ? "–" : `${metric(line.low)} to ${metric(line.high)}`, count(line.count), line.why];
}

/** The table; nothing when the models do not race. */
export function leaderboard(lines) {
  if (!lines.length) return null;
  const row = (line) => h("tr", { "data-race": line.model }, h("th", { scope: "row" }, line.model), cells(line).map((cell, at) => h("td", { "data-head": HEAD[at + 1] }, cell)));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Leaderboard" }, h("table", { class: "models" }, h("caption", { class: "hidden" }, "Leaderboard"), h("thead", {}, h("tr", {}, HEAD.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, lines.map(row))));
}
