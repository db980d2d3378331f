// The models in force, their snapshots, and the line from which one comes.

import { empty, h, num, panel, refresh, table, text } from "../dom.js";
import { count, metric, time, words } from "../format.js";
import { better } from "./common.js";

const short = (digest) => (digest ? digest.slice(0, 16) : "–");

/** What a comparison says: nothing yet while its interval holds 0. */
const verdict = (each) => ({ text: { 1: "better", 0: "not told apart yet", "-1": "worse" }[better(each)], class: better(each) > 0 ? "best" : "" });

/** A difference as a person reads it: by how much the loss is lower, or higher. */
const difference = (each) => `${metric(Math.abs(each.gain))} ${each.gain >= 0 ? "lower" : "higher"}`;

export function versions(context) {
  const force = panel("In force here");
  const shadows = panel("Shadows against what is served", { note: "on the same requests" });
  const changes = panel("Changes");
  const stored = panel("Snapshots", { note: "newest first; choose one for its lineage" });
  const lineage = panel("Lineage");
  const root = h("div", { class: "view" }, force.root, shadows.root, changes.root, stored.root, lineage.root);
  let chosen = "";
  let last = null;

  function choose(version) {
    chosen = version;
    shown = "";
    draw(last);
  }

  /** The snapshot and those before it, as far as retention has left them. */
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
    const { snapshots, marks } = store.sections.versions;
    const known = new Map(snapshots.map((each) => [each.version, each]));
    if (!known.has(chosen)) chosen = (snapshots.find((each) => each.model === store.facts.models[0]) ?? snapshots[0])?.version ?? "";
    const names = [...new Set(snapshots.flatMap((each) => Object.keys(each.metrics)))].slice(0, 3);
    refresh(stored.body, snapshots.length
      ? table(["version", num("learned"), ...names.map((name) => num(words(name))), "made"], snapshots.slice(0, 60).map((each) => [
          h("button", { type: "button", class: "link", "data-key": each.version, "aria-pressed": String(each.version === chosen), onclick: () => choose(each.version) }, each.version),
          num(count(each.learned)), ...names.map((name) => num(metric(each.metrics[name]))), time(each.created_at)]), "Snapshots")
      : empty("No snapshot was written yet."));
    const steps = line(known);
    const first = steps[0];
    if (!first || first.gone) {
      lineage.note("");
      refresh(lineage.body, empty("No snapshot is chosen."));
    } else {
      lineage.note(`of ${chosen}`);
      const facts = [["log offset", count(first.log_offset)], ["learned", `${count(first.learned)} examples`], ["state", short(first.state_digest)], ["specification", short(first.spec)], ["dictionary", short(first.dictionary)], ["runtime", first.runtime_text], ["author", first.author || "–"], ["commit", first.git_commit || "–"], ["signed", first.signed ? "yes" : "no"], ...Object.entries(first.metrics).map(([name, value]) => [words(name), metric(value)])];
      refresh(lineage.body,
        h("ol", { class: "line" }, steps.map((each, index) => h("li", {}, each.gone ? h("small", {}, `${each.version} was removed by retention`) : h("button", { type: "button", class: "link", "data-key": `line ${each.version}`, onclick: () => choose(each.version) }, each.version), index === 0 ? " chosen" : ""))),
        h("dl", {}, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
        h("pre", { tabindex: 0, "aria-label": "Specification" }, first.spec_text));
    }
    refresh(changes.body, marks.length ? h("ul", { class: "plain" }, [...marks].reverse().map((each) => h("li", {}, h("b", {}, each.what), ` at ${time(each.ts)}`))) : empty("No model's revision or role has changed while this page's worker looked on."));
  }

  let shown = "";
  return {
    root,
    update(store) {
      last = store;
      const { models } = store.sections.worker;
      refresh(force.body, table(["version", "role", num("learned"), "specification", "runtime"], models.map((each) => [each.version, each.role + (each.in_force ? "" : ", not yet in force"), num(count(each.learned)), short(each.spec), each.runtime]), "Models"));
      const gains = Object.values(store.sections.gains);
      const loss = store.facts.kind === "regression" ? "absolute error" : "log loss";
      refresh(shadows.body, gains.length
        ? table(["shadow", "against", num("labels"), num(`its ${loss}`), num("95 % interval of the reduction"), "verdict"], gains.map((each) => [each.shadow, each.against, num(count(each.count)), num(difference(each)), num(`${metric(each.low)} to ${metric(each.high)}`), verdict(each)]), "Shadows")
        : empty(store.facts.models.length > 1 ? "Too few labels yet that both have scored." : "The task has no shadow: a second Model in the task file is one."));
      const now = JSON.stringify(store.sections.versions);
      if (now !== shown) draw(store);
      shown = now;
      text(force.root.querySelector("small"), store.sections.worker.slot ? `worker ${store.sections.worker.slot}` : "");
    },
  };
}
