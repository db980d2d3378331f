// Roles and shares of the models, the decisions about them, and the changes of their revisions.

import { commandDialog, COMMANDS } from "../command.js";
import { empty, h, panel, refresh, text } from "../dom.js";
import { count, metric, share, time } from "../format.js";
import { bar, better, chooser } from "./common.js";
import { author, timeline } from "./decisions.js";
import { leaderboard } from "./race.js";
import { rollouts, validations } from "./rollout.js";

const HEAD = ["model", "answers", "version", "learned", "loss against the served model", "since", "commands"];

/** Role in words. */
const roleText = (each) => [each.role, each.frozen_at === null ? "" : "frozen", each.in_file ? "" : "not in the task file"].filter(Boolean).join(", ");

/** Since when a model does what it does, by whom, and why. */
function since(row) {
  if (!row) return ["–", ""];
  return [`${time(row.at)} by ${author(row)}`, row.reason];
}

/** A shadow's gain with its interval. */
function gainText(gain) {
  if (!gain) return ["–", ""];
  const difference = `${metric(Math.abs(gain.gain))} ${gain.gain >= 0 ? "lower" : "higher"}`;
  return [difference, `95 %: ${metric(gain.low)} to ${metric(gain.high)}, ${count(gain.count)} labels`];
}

/** A row of the table, whose buttons stay the same while its numbers change. */
function modelRow(name, open) {
  const cells = HEAD.slice(1).map((head) => h("td", { "data-head": head }));
  const [answers, version, learned, gain, when, buttons] = cells;
  const role = h("small", {});
  const root = h("tr", { "data-model": name }, h("th", { scope: "row" }, name, " ", role), cells);
  const pair = (cell) => {
    const [value, more] = [h("span", {}), h("small", {})];
    cell.append(value, more);
    return (shown, below) => { text(value, shown); text(more, below); };
  };
  const part = h("div", { class: "bar" }, h("i", {}), h("span", {}));
  answers.append(part);
  learned.className = "num";
  gain.className = when.className = "two-lines";
  buttons.className = "actions";
  const [setGain, setWhen] = [pair(gain), pair(when)];
  let offered = "";
  return {
    root,
    set(each, store) {
      text(role, roleText(each));
      part.firstChild.style.width = `${100 * each.share}%`;
      text(part.lastChild, each.share ? share(each.share) : "none");
      text(version, each.version ?? "–");
      text(learned, count(each.learned));
      const compared = each.role === "shadow" ? store.sections.gains[name] : undefined;
      setGain(...gainText(compared));
      gain.classList.toggle("best", better(compared) > 0);
      setWhen(...since(store.sections.decisions.since[name]));
      const names = each.in_file ? Object.keys(COMMANDS).filter((command) => !COMMANDS[command].ofAll && COMMANDS[command].offered(each)) : [];
      if (names.join() === offered) return;
      offered = names.join();
      refresh(buttons, names.map((command) => h("button", { type: "button", "data-key": `${command} ${name}`, "aria-label": `${command} ${name}`, onclick: () => open(command, name) }, command)));
    },
  };
}

/** What a revision changed against the one before. */
function difference(each) {
  if (each.lines.length) return h("pre", { class: "difference", tabindex: 0, "aria-label": `Changes of revision ${each.revision}` }, each.lines.map((line) => h("span", { class: { "-": "removed", "+": "added" }[line[0]] ?? "" }, `${line}\n`)));
  const names = { spec: "specification", runtime: "runtime", dictionary: "dictionary" };
  const others = each.changed.map((name) => names[name]);
  return others.length ? h("p", {}, `changed: ${others.join(", ")}`) : null;
}

export function models(context) {
  const dialog = commandDialog();
  const open = (command, name) => dialog.open(command, name, last);
  const ofAll = Object.keys(COMMANDS).filter((command) => COMMANDS[command].ofAll).map((command) => h("button", { type: "button", "data-key": command, onclick: () => open(command, "") }, COMMANDS[command].label));
  const answering = panel("Models", { className: "wide", controls: ofAll });
  const stack = h("div", { class: "stack", role: "img" });
  const body = h("tbody", {});
  answering.body.append(stack, h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Models" }, h("table", { class: "models" }, h("caption", { class: "hidden" }, "Models"), h("thead", {}, h("tr", {}, HEAD.map((name) => h("th", { scope: "col", class: name === "learned" ? "num" : undefined }, name)))), body)));
  const decided = panel("Decisions", { note: "newest first, from the log", className: "two" });
  let last = null;
  const model = chooser(context, "revisions", "Model", () => last && revisions(last));
  const changed = panel("Revisions", { controls: [model.root] });
  const rollout = panel("Rollouts", { note: "by the gate and by people", className: "wide" });
  const race = panel("Leaderboard", { note: "the race on whole cohorts", className: "wide" });
  const validated = panel("Validations", { note: "newest of each model", className: "wide" });
  rollout.root.hidden = race.root.hidden = validated.root.hidden = true;
  const panels = [answering, race, rollout, validated, decided, changed].map((each) => each.root);
  const root = h("div", { class: "view" }, ...panels);
  const rows = {};
  const shown = { names: "", stack: "", decisions: "", revisions: "", rollouts: "", race: "", validations: "" };

  /** Whether something has changed since it was drawn. */
  function moved(name, value) {
    const now = JSON.stringify(value);
    const other = shown[name] !== now;
    shown[name] = now;
    return other;
  }

  function answers(store) {
    const all = store.sections.models;
    const parts = all.filter((each) => each.share).sort((a, b) => b.share - a.share);
    if (moved("stack", parts.map((each) => [each.model, each.share]))) {
      const order = all.map((each) => each.model);
      stack.setAttribute("aria-label", `Shares: ${parts.map((each) => `${each.model} ${share(each.share)}`).join(", ") || "none"}`);
      refresh(stack, parts.map((each) => h("div", { "width%": 100 * each.share, class: `c${(order.indexOf(each.model) % 6) + 1}` }, h("b", {}, each.model), ` ${share(each.share)}`)));
    }
    for (const button of ofAll) button.hidden = !COMMANDS[button.dataset.key].offered(null, all, store.sections.rollout);
    for (const each of all) (rows[each.model] ??= modelRow(each.model, open)).set(each, store);
    if (moved("names", all.map((each) => each.model))) refresh(body, all.map((each) => rows[each.model].root));
  }

  function verdicts(store) {
    const rows = store.sections.rollout.validations;
    if (!moved("validations", rows)) return;
    const list = validations(rows);
    validated.root.hidden = !list;
    refresh(validated.body, list ?? empty("No validation."));
  }

  function steps(store) {
    const { models: all, rollout: now } = store.sections;
    if (!moved("rollouts", [all.map((each) => [each.model, each.share, each.gate]), now])) return;
    const list = rollouts(all, now, open);
    rollout.root.hidden = !list;
    refresh(rollout.body, list ?? empty("No rollout."));
  }

  function positions(store) {
    const lines = store.sections.race;
    if (!moved("race", lines)) return;
    const table = leaderboard(lines);
    race.root.hidden = !table;
    if (table) refresh(race.body, table);
  }

  function revisions(store) {
    const known = store.sections.decisions.revisions;
    const names = Object.keys(known);
    model.offer(names, String);
    const found = known[model.value] ?? [];
    if (!moved("revisions", [model.value, found])) return;
    refresh(changed.body, found.length ? h("ul", { class: "decisions" }, found.map((each) => h("li", { class: "done" }, h("div", {}, h("b", {}, `${model.value}.${each.revision}`), " ", h("small", {}, `${time(each.at)} by ${author(each)}`)), h("p", {}, each.command === "revision" ? each.reason : `${each.command}: ${each.reason}`), difference(each),
      each.text ? h("details", {}, h("summary", {}, "specification"), h("pre", { tabindex: 0, "aria-label": "Specification" }, each.text)) : null))) : empty("No revision yet."));
  }

  return {
    root,
    update(store) {
      last = store;
      answers(store);
      positions(store);
      steps(store);
      verdicts(store);
      dialog.update(store);
      const list = store.sections.decisions.rows;
      if (moved("decisions", list)) refresh(decided.body, list.length ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Decisions" }, timeline(list)) : empty("No decision yet."));
      revisions(store);
    },
  };
}
