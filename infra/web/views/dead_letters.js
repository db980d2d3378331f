// Rejected records by reason, with the newest of each. Their content is shown as text only.

import { empty, h, panel, refresh } from "../dom.js";
import { count, time } from "../format.js";

function example(each, open) {
  const found = each.example;
  const rows = [["place", found.place], ["source", found.source ?? "HTTP"], ["arrived", time(found.arrived, true)], ["field", found.field || "the whole record"], ["size", `${count(found.bytes)} bytes`]];
  if (open) rows.push(["message", found.message], ["producer", found.producer ?? "unknown"], ["key", found.key ?? "none"]);
  const record = typeof found.record === "string" ? found.record : JSON.stringify(found.record, null, 1);
  return [
    h("dl", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    open ? h("pre", { tabindex: 0, "aria-label": "The record" }, record) : h("p", { class: "empty" }, "Records are hidden because predictions require a token, or the worker is reachable from other machines."),
    h("p", { class: "hint" }, h("code", {}, `riverloop deadletters show TASK ${found.place}`)),
  ];
}

export function deadLetters() {
  const list = panel("Dead letters", { className: "wide" });
  const root = h("div", { class: "view" }, list.root);
  const opened = new Set();
  let shown = "";
  return {
    root,
    update(store) {
      const found = store.sections.dead_letters;
      const now = JSON.stringify(found);
      if (now === shown) return;
      shown = now;
      list.note(`newest ${count(found.counted)}, by reason`);
      const most = Math.max(1, ...found.reasons.map((each) => each.count));
      const item = (each, index) => {
        const details = h("details", { open: opened.has(each.reason) || (index === 0 && !opened.size) },
          h("summary", { "data-key": each.reason }, h("b", {}, each.reason.replaceAll("_", " ")), h("span", {}, each.means), h("span", { class: "bar" }, h("i", { "width%": (100 * each.count) / most }), h("span", {}, count(each.count)))),
          h("div", { class: "example" }, example(each, found.open)));
        details.addEventListener("toggle", () => (details.open ? opened.add(each.reason) : opened.delete(each.reason)));
        return details;
      };
      refresh(list.body, found.reasons.length ? h("div", { class: "episodes" }, found.reasons.map(item)) : empty("No record was rejected."));
    },
  };
}
