// The active versions, the snapshots, and the lineage of a snapshot.

import { empty, h, num, panel, refresh, table, text } from "../dom.js";
import { count, metric, time, words } from "../format.js";
import { servedModels } from "./common.js";

const short = (digest) => (digest ? digest.slice(0, 16) : "–");

export function versions(context) {
  const force = panel("Active in this worker");
  const stored = panel("Snapshots", { note: "newest first; select one for its lineage" });
  const lineage = panel("Lineage");
  const root = h("div", { class: "view" }, force.root, stored.root, lineage.root);
  let chosen = "";
  let last = null;

  function choose(version) {
    chosen = version;
    shown = "";
    draw(last);
  }

  /** The snapshot and its ancestors that retention has kept. */
  function line(known) {
    const steps = [];
    for (let version = chosen; version && !steps.some((each) => each.version === version); ) {
      const found = known.get(version);
      steps.push(found ?? { version, gone: true });
      version = found?.parents[0];
    }
    return steps;
  }

  function draw(store) {
    const { snapshots } = store.sections.versions;
    const known = new Map(snapshots.map((each) => [each.version, each]));
    if (!known.has(chosen)) chosen = (snapshots.find((each) => each.model === servedModels(store)[0]?.model) ?? snapshots[0])?.version ?? "";
    const names = [...new Set(snapshots.flatMap((each) => Object.keys(each.metrics)))].slice(0, 3);
    refresh(stored.body, snapshots.length
      ? table(["version", num("learned"), ...names.map((name) => num(words(name))), "made"], snapshots.slice(0, 60).map((each) => [
          h("button", { type: "button", class: "link", "data-key": each.version, "aria-pressed": String(each.version === chosen), onclick: () => choose(each.version) }, each.version),
          num(count(each.learned)), ...names.map((name) => num(metric(each.metrics[name]))), time(each.created_at)]), "Snapshots")
      : empty("No snapshots yet."));
    const steps = line(known);
    const first = steps[0];
    if (!first || first.gone) {
      lineage.note("");
      refresh(lineage.body, empty("No snapshot selected."));
    } else {
      lineage.note(`of ${chosen}`);
      const facts = [["log offset", count(first.log_offset)], ["learned", `${count(first.learned)} examples`], ["state", short(first.state_digest)], ["specification", short(first.spec)], ["dictionary", short(first.dictionary)], ["runtime", first.runtime_text], ["author", first.author || "–"], ["commit", first.git_commit || "–"], ["signed", first.signed ? "yes" : "no"], ...Object.entries(first.metrics).map(([name, value]) => [words(name), metric(value)])];
      refresh(lineage.body,
        h("ol", { class: "line" }, steps.map((each, index) => h("li", {}, each.gone ? h("small", {}, `${each.version}, deleted by retention`) : h("button", { type: "button", class: "link", "data-key": `line ${each.version}`, onclick: () => choose(each.version) }, each.version), index === 0 ? " selected" : ""))),
        h("dl", {}, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
        h("pre", { tabindex: 0, "aria-label": "Specification" }, first.spec_text));
    }
  }

  let shown = "";
  return {
    root,
    update(store) {
      last = store;
      const { models } = store.sections.worker;
      refresh(force.body, table(["version", "role", num("learned"), "specification", "runtime"], models.map((each) => [each.version, each.role + (each.active ? "" : ", not active yet"), num(count(each.learned)), short(each.spec), each.runtime]), "Models"));
      const now = JSON.stringify(store.sections.versions);
      if (now !== shown) draw(store);
      shown = now;
      text(force.root.querySelector("small"), store.sections.worker.slot ? `worker ${store.sections.worker.slot}` : "");
    },
  };
}
