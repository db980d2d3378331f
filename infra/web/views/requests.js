// What became of one request: the answer, who had put that model there, and what was learned.

import { empty, h, panel, refresh, table } from "../dom.js";
import { time } from "../format.js";

const shown = (value) => (value === null || value === undefined ? "" : typeof value === "number" ? String(Math.round(value * 1e6) / 1e6) : typeof value === "object" ? JSON.stringify(value) : String(value));
const place = (offset) => (offset === null || offset === undefined ? "" : `log offset ${offset}`);

function decided(by) {
  const evidence = by.evidence ? ` (evidence: ${by.evidence})` : "";
  return `${by.author}, ${`${by.command} ${by.model}`.trim()}: ${by.reason}${evidence}`;
}

function learned(each) {
  return each.learned_by.map((one) => (one.left_out ? `${one.model} leaves it out` : `${one.version} learns ${shown(one.label)}`)).join(", ");
}

function steps(found) {
  const rows = found.requests.map((each) => [each.arrived, "request", each.client ?? "", each.at]);
  found.predictions.forEach((each, index) => rows.push([each.arrived, index ? "duplicate prediction" : "prediction", `over ${each.over} by worker ${each.worker ?? "unknown"}`, each.at]));
  for (const [what, by] of [["put there by", found.answered?.put_there_by], ["revision opened by", found.answered?.revision_by]]) {
    if (by) rows.push([by.ts, `${found.answered.version} ${what}`, decided(by), place(by.log_offset)]);
  }
  for (const each of found.outcomes) rows.push([each.arrived, "outcome", each.value === null ? each.reason : shown(each.value), each.at]);
  for (const each of found.entries) rows.push([each.arrived, each.kind, learned(each), place(each.log_offset)]);
  for (const each of found.skipped) rows.push([null, "skipped", `${each.version}: ${each.exception}`, place(each.log_offset)]);
  for (const each of found.dead_letters) rows.push([each.arrived, `dead letter ${each.reason.replaceAll("_", " ")}`, each.message, each.at]);
  return rows.map(([at, ...rest]) => [time(at, true), ...rest]);
}

function parts(found) {
  const made = [table(["At", "What", "Details", "Where"], steps(found), `Request ${found.request_id}`)];
  const first = found.predictions[0];
  if (first) {
    made.push(table(["Role", "Version", "Score", "Label", "Failure"], first.scores.map((each) => [each.role, each.version, shown(each.score), shown(each.label), each.failure]), "Scores"));
    made.push(table(["Feature", "Value"], Object.entries(first.features).map(([name, value]) => [name, shown(value)]), "Features as seen"));
  }
  return made;
}

export function requests() {
  const result = panel("Request", { className: "wide" });
  const id = h("input", { type: "search", "aria-label": "Request id", placeholder: "request id", maxlength: 200, "data-key": "request" });
  const token = h("input", { type: "password", "aria-label": "Token", placeholder: "token", autocomplete: "off", hidden: true, "data-key": "token" });
  const button = h("button", { type: "button" }, "Search");
  const root = h("div", { class: "view" }, h("p", { class: "search" }, id, " ", token, " ", button), result.root);
  refresh(result.body, empty("Search for a request to see its answer, the decisions behind it, and what was learned."));
  let asked = 0;
  async function search() {
    const name = id.value.trim();
    if (!name) return;
    const mine = ++asked;
    result.note("searching");
    try {
      const headers = token.value ? { Authorization: `Bearer ${token.value}` } : {};
      const task = location.pathname.split("/")[2];
      const reply = await fetch(`/tasks/${task}/requests/${encodeURIComponent(name)}`, { headers });
      const found = await reply.json();
      if (mine !== asked) return;
      token.hidden = !token.value && reply.status !== 401;
      result.note(reply.ok ? name : "");
      refresh(result.body, reply.ok ? parts(found) : empty(found.detail));
    } catch {
      if (mine !== asked) return;
      result.note("");
      refresh(result.body, empty("The worker does not answer."));
    }
  }
  button.addEventListener("click", search);
  for (const field of [id, token]) field.addEventListener("keydown", (event) => event.key === "Enter" && search());
  return { root, update() {} };
}
