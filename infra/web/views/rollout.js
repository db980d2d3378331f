// Rollouts: the gate's line of each challenger, proposals that wait for an approval, and pauses.

import { h } from "../dom.js";
import { count, metric, share, time } from "../format.js";

const day = (ms) => new Date(ms).toISOString().slice(0, 10);

/** The gain of a challenger over whole cohorts, with its interval. */
export function gainOf(gate) {
  if (!gate.labelled) return "no matured request with a label yet";
  const [from, to] = gate.cohorts;
  return `gain ${metric(gate.gain)} (${metric(gate.low)} to ${metric(gate.high)}) over ${count(gate.labelled)} matured requests of ${day(from)} to ${day(to)}`;
}

/** What a proposal would change. */
const change = (proposal) => (proposal.action === "share" ? `share ${proposal.shares}` : `promote ${proposal.model}`);

function line(each) {
  const { gate } = each;
  return h("li", { class: "done", "data-gate": each.model },
    h("div", {}, h("b", {}, gate.challenger), ` against ${gate.against}: `, h("b", {}, gate.verdict), each.share ? h("small", {}, ` answers ${share(each.share)}`) : null),
    h("p", {}, gainOf(gate)),
    h("p", { class: "state" }, `waits for ${gate.waits_for}`));
}

function waiting(proposal, open) {
  const button = (command) => h("button", { type: "button", "data-key": `${command} ${proposal.id}`, "aria-label": `${command} ${proposal.id}`, onclick: () => open(command, proposal.id) }, command);
  return h("li", { "data-proposal": proposal.id },
    h("div", {}, h("b", {}, change(proposal)), " ", h("small", {}, `proposed by ${proposal.author}, ${time(proposal.ts)}`)),
    h("p", {}, proposal.reason, proposal.evidence ? h("small", {}, ` evidence: ${proposal.evidence}`) : null),
    h("p", { class: "state" }, `id ${proposal.id}, digest ${proposal.digest}, can be approved until ${time(proposal.expires, true)}`),
    h("div", { class: "actions" }, button("approve"), button("reject")));
}

/** The newest validation of each model; nothing when there is none. */
export function validations(rows) {
  const checks = (each) => JSON.parse(each.evidence).checks.map((check) => h("li", {}, h("b", {}, check.name), ` ${check.passed ? (check.judged ? "passed" : "not judged") : "FAILED"}: ${check.text}`));
  return rows.length ? h("ul", { class: "decisions" }, rows.map((each) => h("li", { class: each.verdict === "passed" ? "done" : "rejected", "data-validation": each.model },
    h("div", {}, h("b", {}, each.version), ` at log offset ${count(each.at)}: `, h("b", {}, each.verdict), h("small", {}, ` ${time(each.ts)}`)),
    h("ul", {}, checks(each))))) : null;
}

/** The list of all rollouts; nothing when there is none. */
export function rollouts(models, rollout, open) {
  const lines = models.filter((each) => each.gate).map(line);
  const rows = [...rollout.proposals.map((each) => waiting(each, open)), ...lines];
  if (rollout.paused) rows.unshift(h("li", {}, h("div", {}, h("b", {}, "Nothing is raised: "), rollout.paused)));
  return rows.length ? h("ul", { class: "decisions" }, rows) : null;
}
