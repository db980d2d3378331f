// How the task is, since when, why, and what to do: the page begins with it.

import { h, refresh, text } from "./dom.js";
import { seconds, time } from "./format.js";

const SHOWN = 4;

/** What the page sees itself comes before what the worker says: of a worker that is silent nothing is known. */
export function verdictOf(store) {
  const said = store.sections.verdict;
  if (store.phase === "live" && said) return said;
  if (!store.facts) return { state: "connecting", since: 0, reasons: [] };
  const why = `Nothing was heard for ${seconds(Math.round(store.silence / 1000))}: what you see is old. It is tried again all the time.`;
  const own = { state: "down", what: "The worker cannot be reached", why, runbook: "worker-down", since: store.now, since_event: false };
  return { state: "down", since: store.now, reasons: [own, ...(said?.reasons ?? [])] };
}

/** A link to a runbook; where the runbooks have no address it is their path. */
function runbook(store, name) {
  const path = `${store.facts?.runbooks ?? ""}${name}.md`;
  return /^https?:/.test(path) ? h("a", { href: path, rel: "noopener noreferrer", target: "_blank" }, `what to do: ${name.replaceAll("-", " ")}`) : h("span", {}, "what to do: ", h("code", {}, path));
}

function reason(store, each) {
  const since = each.since_event ? `since ${time(each.since)} (event time)` : each.since ? `since ${time(each.since)}` : "";
  return h("li", { class: each.state }, h("b", {}, each.what), " ", h("small", {}, since), " ", h("span", { class: "why" }, each.why), " ", runbook(store, each.runbook));
}

/** Show the verdict; gives it. */
export function showVerdict(store, places) {
  const told = verdictOf(store);
  const { state, since, reasons } = told;
  document.body.dataset.verdict = state;
  text(places.state, state);
  const calm = state === "healthy" ? ". Nothing is late, and no episode pages" : "";
  text(places.since, since ? `since ${time(since)}, ${seconds(Math.max(0, Math.round((store.time - since) / 1000)))}${calm}` : "");
  const shown = JSON.stringify(reasons);
  if (places.shown !== shown) {
    places.shown = shown;
    const more = reasons.length - SHOWN;
    refresh(places.reasons, reasons.slice(0, SHOWN).map((each) => reason(store, each)), more > 0 ? h("li", {}, `and ${more} more`) : null);
  }
  return told;
}
