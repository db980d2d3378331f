// Records that could not be used, by reason, with the newest of each. Whatever they say is text.

import { empty, h, panel, refresh } from "../dom.js";
import { count, time } from "../format.js";

function example(each, open) {
  const told = each.example;
  const rows = [["place", told.place], ["source", told.source ?? "HTTP"], ["arrived", time(told.arrived, true)], ["field", told.field || "the whole record"], ["size", `${count(told.bytes)} bytes`]];
  if (open) rows.push(["said", told.message], ["producer", told.producer ?? "not known"], ["key", told.key ?? "none"]);
  const record = typeof told.record === "string" ? told.record : JSON.stringify(told.record, null, 1);
  return [
    h("dl", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    open ? h("pre", { tabindex: 0, "aria-label": "The record as far as it can be read" }, record) : h("p", { class: "empty" }, "What requests say is not shown here: asking for predictions needs a token, or others reach this worker."),
    h("p", { class: "hint" }, h("code", {}, `riverloop deadletters show TASK ${told.place}`)),
  ];
}

export function letters() {
  const list = panel("Dead letters", { className: "wide" });
  const root = h("div", { class: "view" }, list.root);
  const opened = new Set();
  let shown = "";
  return {
    root,
    update(store) {
      const told = store.sections.letters;
      const now = JSON.stringify(told);
      if (now === shown) return;
      shown = now;
      list.note(`the newest ${count(told.counted)}, by reason`);
      const most = Math.max(1, ...told.reasons.map((each) => each.count));
      const item = (each, index) => {
        const details = h("details", { open: opened.has(each.reason) || (index === 0 && !opened.size) },
          h("summary", { "data-key": each.reason }, h("b", {}, each.reason.replaceAll("_", " ")), h("span", {}, each.means), h("span", { class: "bar" }, h("i", { "width%": (100 * each.count) / most }), h("span", {}, count(each.count)))),
          h("div", { class: "example" }, example(each, told.open)));
        details.addEventListener("toggle", () => (details.open ? opened.add(each.reason) : opened.delete(each.reason)));
        return details;
      };
      refresh(list.body, told.reasons.length ? h("div", { class: "episodes" }, told.reasons.map(item)) : empty("Nothing was refused."));
    },
  };
}
