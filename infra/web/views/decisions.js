// Decisions about models in words, for the first view and for the models' view.

import { h, table } from "../dom.js";
import { count, share, time } from "../format.js";

/** Shares of a command or of roles: lr 90.0 %, ht 10.0 %. */
export const sharesOf = (shares) =>
  Object.entries(shares).sort((a, b) => b[1] - a[1]).map(([model, part]) => `${model} ${share(Number(part))}`).join(", ");

/** What a decision is about: promote ht; share lr 90.0 %, ht 10.0 %; revision 2 of lr. */
export function what(row) {
  if (row.command === "revision") return `revision ${row.arguments.revision} of ${row.model}`;
  const shares = Object.entries(row.arguments).filter(([name]) => name.startsWith("share.")).map(([name, part]) => [name.slice(6), part]);
  if (shares.length) return `${row.command === "share" ? "" : `${row.command} ${row.model}: `}share ${sharesOf(Object.fromEntries(shares))}`;
  const rest = Object.entries(row.arguments).filter(([name]) => name !== "revision").map(([name, value]) => (name === "mode" ? value : `${name} ${value}`));
  return [row.command, row.model, ...rest].filter(Boolean).join(" ");
}

/** Who decided: a token's name, or how else the name is known. */
export function author(row) {
  if (!row.author) return "worker";
  return { stated: `${row.author} (stated)`, none: `${row.author} (no token)` }[row.authentication] ?? row.author;
}

/** How far a decision is: its state in words, and whether it is final. */
export function progress(row) {
  if (row.state === "asked") return { text: "waits for the log's owner", settled: false };
  if (row.state === "rejected") return { text: `rejected: ${row.why}`, settled: true };
  if (row.offset === null) return { text: "decided, no worker has applied it yet", settled: false };
  const { workers } = row;
  const at = `log offset ${count(row.offset)}`;
  if (!workers) return { text: `from ${at} on`, settled: false };
  const all = workers.active.length + workers.waiting.length;
  if (!workers.waiting.length) return { text: `active from ${at} on, in all workers`, settled: true };
  return { text: `from ${at} on, in ${count(workers.active.length)} of ${count(all)} workers; not yet in ${workers.waiting.join(", ")}`, settled: false };
}

/** A list of decisions, newest first. */
export function timeline(rows) {
  return h("ul", { class: "decisions" }, rows.map((row) => {
    const state = progress(row);
    const change = row.before && Object.keys(row.before).length ? `${sharesOf(row.before)} → ${sharesOf(row.after)}` : "";
    return h("li", { class: `${row.state} ${state.settled ? "settled" : ""}` },
      h("div", {}, h("b", {}, what(row)), " ", h("small", {}, `${time(row.at, true)} by ${author(row)}`)),
      row.reason ? h("p", {}, row.reason, row.evidence ? h("small", {}, ` evidence: ${row.evidence}`) : null) : null,
      h("p", { class: "state" }, [change, state.text].filter(Boolean).join(" · ")));
  }));
}

/** Roles before and after a command, as a dry run gives them. */
export function preview(models) {
  const role = (each) => (each.role === "served" ? `answers ${share(each.share)}` : each.role) + (each.frozen_at === null ? "" : ", frozen");
  return table(["model", "now", "then"], models.map((each) => {
    const [before, after] = [role(each.before), role(each.after)];
    return [each.model, before, { text: after, class: before === after ? "" : "changed" }];
  }), "Roles before and after the command");
}
