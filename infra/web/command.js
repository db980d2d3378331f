// Commands of models: form, dry run, result. The token stays in this module's memory: never in storage, never in an address.

import { h, refresh, text } from "./dom.js";
import { preview, progress } from "./views/decisions.js";

let token = "";

/** By name: what it does, when it is offered, its further fields, and whether it is about all models. A new command is a new line. */
export const COMMANDS = {
  promote: { says: "It answers all requests; the others become shadows.", offered: (each) => each.role !== "retired" && each.share < 1 },
  share: { label: "Share requests", says: "Each model answers its share of the entities.", offered: (_, all) => all.filter((each) => each.in_file && each.role !== "retired").length > 1, ofAll: true, fields: shares },
  freeze: { says: "Its state answers as it is and learns nothing.", offered: (each) => each.role !== "retired" && each.frozen_at === null },
  resume: { says: "It learns again.", offered: (each) => each.frozen_at !== null, fields: mode },
  retire: { says: "It neither scores nor learns; its snapshots stay.", offered: (each) => each.role === "shadow" },
  abort: { says: "The model before answers its requests again, and its test ends.", offered: (each) => Boolean(each.gate) && each.share < 1 },
  approve: { says: "What is proposed is done.", offered: () => false, fields: proposal },
  reject: { says: "What is proposed is not done. Of the gate: the challenger's test ends.", offered: () => false, fields: proposal },
  pause: { label: "Pause rollouts", says: "No share is raised until the pause ends; proposals are dropped.", offered: (_, all, rollout) => !rollout.paused && all.some((each) => each.gate), ofAll: true, fields: () => ({ root: null, body: () => ({}) }) },
  restore: { says: "It is a shadow again, without what it missed.", offered: (each) => each.role === "retired" },
};

/** A field with its name above it. */
const field = (name, input, hint = "") => h("label", {}, h("span", {}, name), input, hint ? h("small", {}, hint) : null);

function shares(model, all) {
  const inputs = all.filter((each) => each.in_file && each.role !== "retired").map((each) => [each.model, h("input", { type: "number", min: 0, max: 100, step: "any", required: true, value: Math.round(each.share * 1e6) / 1e4, "data-share": each.model })]);
  return {
    root: h("div", { class: "shares" }, inputs.map(([name, input]) => field(`${name}, %`, input))),
    body: () => ({ shares: Object.fromEntries(inputs.map(([name, input]) => [name, Math.round(Number(input.value) * 1e4) / 1e6]).filter(([, part]) => part > 0)) }),
  };
}

function proposal(id, _, store) {
  const { digest } = store.sections.rollout.proposals.find((each) => each.id === id) ?? {};
  return { root: null, body: () => ({ proposal: id, digest: digest ?? "" }) };
}

function mode(model) {
  const select = h("select", { name: "mode" }, h("option", { value: "catch-up" }, "catch up: learn what it missed"), h("option", { value: "skip" }, "skip: leave out what it missed"));
  return { root: field("what it missed", select), body: () => ({ model, mode: select.value }) };
}

const newId = () => [...crypto.getRandomValues(new Uint8Array(8))].map((each) => each.toString(16).padStart(2, "0")).join("");

/** Send a command; gives the status and the answer. */
async function send(task, body) {
  const headers = { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  try {
    const answer = await fetch(`/tasks/${encodeURIComponent(task)}/commands`, { method: "POST", headers, body: JSON.stringify(body) });
    return { status: answer.status, data: await answer.json() };
  } catch {
    return { status: 0, data: { detail: "the worker cannot be reached" } };
  }
}

/** Make the dialog; `open(command, model, store)` asks for a command, `update(store)` shows how far the last one is. */
export function commandDialog() {
  const root = h("dialog", { "aria-labelledby": "command-title" });
  const title = h("h2", { id: "command-title" }, "");
  const place = h("div", {});
  root.append(title, place);
  document.body.append(root);
  let asked = null;

  function open(name, model, store) {
    const command = COMMANDS[name];
    const all = store.sections.models;
    const more = command.fields?.(model, all, store) ?? { root: null, body: () => ({ model }) };
    const reason = h("input", { type: "text", required: true, maxlength: 1000, autocomplete: "off", name: "reason" });
    const secret = h("input", { type: "password", required: true, autocomplete: "off", name: "token", value: token });
    const problem = h("p", { class: "problem", role: "alert" });
    const task = store.facts.task;
    const label = command.ofAll ? command.label : `${name[0].toUpperCase()}${name.slice(1)} ${model}`;
    const body = () => ({ command: name, reason: reason.value.trim(), ...more.body() });
    asked = null;
    text(title, label);

    function form() {
      const check = h("button", { type: "submit", class: "main", "data-step": "preview" }, "Preview");
      const made = h("form", { novalidate: true, onsubmit: submit }, h("p", {}, command.says), more.root, field("reason", reason, "kept in the log for good"),
        store.facts.token ? field("token", secret, "with a name; forgotten when this page is left") : null, problem, h("div", { class: "buttons" }, h("button", { type: "button", onclick: close }, "Cancel"), check));
      async function submit(event) {
        event.preventDefault();
        text(problem, "");
        reason.setCustomValidity(reason.value.trim() ? "" : "A reason is required.");
        if (!made.reportValidity()) return;
        token = store.facts.token ? secret.value.trim() : "";
        check.disabled = true;
        const { status, data } = await send(task, { ...body(), dry_run: true });
        check.disabled = false;
        if (status === 200) look(data);
        else text(problem, data.detail ?? `status ${status}`);
      }
      refresh(place, made);
      (more.root?.querySelector("input, select") ?? reason).focus();
    }

    function look(plan) {
      // One id for all tries: what was done without an answer is not done again.
      const id = newId();
      const confirm = h("button", { type: "button", class: "main", "data-step": "confirm", onclick: act }, label);
      async function act() {
        text(problem, "");
        confirm.disabled = true;
        const { status, data } = await send(task, { ...body(), id });
        confirm.disabled = false;
        if (status === 200 || status === 202) result(id, data);
        else text(problem, data.detail ?? `status ${status}`);
      }
      refresh(place, h("p", {}, "Nothing is changed yet. The command does this:"), preview(plan.models), h("p", {}, "Reason: ", reason.value), problem,
        h("div", { class: "buttons" }, h("button", { type: "button", onclick: form }, "Back"), confirm));
      confirm.focus();
    }

    function result(id, data) {
      const shown = h("p", { class: "result", role: "status" });
      asked = { id, shown, data };
      const leave = h("button", { type: "button", class: "main", onclick: close }, "Close");
      refresh(place, shown, h("div", { class: "buttons" }, leave));
      leave.focus();
      update(store);
    }

    form();
    root.showModal();
    (more.root?.querySelector("input, select") ?? reason).focus();
  }

  function close() {
    root.close();
  }

  function update(store) {
    if (!asked) return;
    const row = store.sections.decisions.rows.find((each) => each.id === asked.id);
    const { state, log_offset: offset } = asked.data;
    const known = row ?? { state, offset: offset ?? null, workers: null };
    text(asked.shown, progress(known).text);
    asked.shown.dataset.state = progress(known).settled ? "settled" : known.state;
  }

  return { open, update };
}
