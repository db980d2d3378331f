// The verdict at the top of the page: state, since when, reasons, runbooks.

import { h, refresh, text } from "./dom.js";
import { seconds, time } from "./format.js";
import { author, progress, what } from "./views/decisions.js";

const SHOWN = 4;

/** The page's own finding precedes the worker's report, since the state of an unreachable worker is unknown. */
export function verdictOf(store) {
  const reported = store.sections.verdict;
  if (store.phase === "live" && reported) return reported;
  if (!store.facts) return { state: "connecting", since: 0, reasons: [] };
  const why = `No message for ${seconds(Math.round(store.silence / 1000))}: the data shown is old. The page keeps reconnecting.`;
  const own = { state: "down", what: "The worker cannot be reached", why, runbook: "worker-down", since: store.now, since_event: false };
  return { state: "down", since: store.now, reasons: [own, ...(reported?.reasons ?? [])] };
}

/** A link to a runbook, or its path where runbooks are not published. */
function runbook(store, name) {
  const path = `${store.facts?.runbooks ?? ""}${name}.md`;
  return /^https?:/.test(path) ? h("a", { href: path, rel: "noopener noreferrer", target: "_blank" }, `what to do: ${name.replaceAll("-", " ")}`) : h("span", {}, "what to do: ", h("code", {}, path));
}

function reason(store, each) {
  const since = each.since_event ? `since ${time(each.since)} (event time)` : each.since ? `since ${time(each.since)}` : "";
  return h("li", { class: each.state }, h("b", {}, each.what), " ", h("small", {}, since), " ", h("span", { class: "why" }, each.why), " ", runbook(store, each.runbook));
}

/** Show what has changed last about the models, when, by whom and why. */
export function showChange(store, place) {
  const newest = (store.sections.decisions?.rows ?? []).find((each) => each.state === "done");
  const shown = JSON.stringify(newest ?? null);
  if (place.dataset.shown === shown) return;
  place.dataset.shown = shown;
  place.hidden = !newest;
  if (!newest) return;
  const state = progress(newest);
  refresh(place, h("span", {}, "What changed? "), h("a", { href: "#models" }, what(newest)), h("small", {}, ` ${time(newest.at)} by ${author(newest)}`), newest.reason ? h("span", {}, ` ${newest.reason}`) : null, state.settled ? null : h("small", {}, ` ${state.text}`));
}

/** Show the verdict; gives it. */
export function showVerdict(store, places) {
  const verdict = verdictOf(store);
  const { state, since, reasons } = verdict;
  document.body.dataset.verdict = state;
  text(places.state, state);
  const healthy = state === "healthy" ? ". No stage is late, and no paging episode is open" : "";
  text(places.since, since ? `since ${time(since)}, ${seconds(Math.max(0, Math.round((store.time - since) / 1000)))}${healthy}` : "");
  const shown = JSON.stringify(reasons);
  if (places.shown !== shown) {
    places.shown = shown;
    const more = reasons.length - SHOWN;
    refresh(places.reasons, reasons.slice(0, SHOWN).map((each) => reason(store, each)), more > 0 ? h("li", {}, `${more} more reasons`) : null);
  }
  return verdict;
}
