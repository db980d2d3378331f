// The live page: which task, which view, which theme; the views do the rest.

import { h, refresh, text } from "./dom.js";
import { count, time } from "./format.js";
import { Store } from "./store.js";
import { showChange, showVerdict } from "./verdict.js";
import { pages } from "./views/common.js";
import { loop } from "./views/loop.js";
import { models } from "./views/models.js";
import { quality } from "./views/quality.js";
import { labels } from "./views/labels.js";
import { drift } from "./views/drift.js";
import { features } from "./views/features.js";
import { versions } from "./views/versions.js";
import { deadLetters } from "./views/dead_letters.js";
import { requests } from "./views/requests.js";

const VIEWS = { loop, models, quality, labels, drift, features, versions, dead_letters: deadLetters, requests };
const NAMES = { loop: "Loop", models: "Models", quality: "Quality", labels: "Labels", drift: "Drift", features: "Data quality", versions: "Versions", dead_letters: "Dead letters", requests: "Requests" };
const byId = (id) => document.getElementById(id);
const task = decodeURIComponent(location.pathname.split("/")[2]);

const kept = (name, fallback) => {
  try {
    return localStorage.getItem(`riverloop.${name}`) ?? fallback;
  } catch {
    return fallback;
  }
};
const keep = (name, value) => {
  try {
    localStorage.setItem(`riverloop.${name}`, value);
  } catch {
    // Then it holds for this page only.
  }
};

const context = { store: null, axis: kept("axis", "ts"), kept, keep, go: (view) => (location.hash = view) };
const mounted = {};
let current = "";

function show() {
  const wanted = location.hash.slice(1).split("/")[0];
  const name = wanted in VIEWS ? wanted : "loop";
  if (name !== current) {
    current = name;
    mounted[name] ??= VIEWS[name](context);
    byId("main").replaceChildren(mounted[name].root);
    document.body.dataset.view = name;
    for (const link of byId("views").children) link.dataset.view === name ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  update(true);
}

function update(rows) {
  const { store } = context;
  if (!store?.facts) return;
  mounted[current].update(store, rows);
}

const verdict = { state: byId("state"), since: byId("since"), reasons: byId("reasons"), shown: "" };

function frame() {
  const { store } = context;
  document.body.dataset.phase = store.phase;
  showVerdict(store, verdict);
  showChange(store, byId("change"));
  text(byId("clock"), time(store.sections.loop?.stream_time));
  if (!store.facts) return;
  text(byId("question"), store.facts.question);
  badge("drift", (store.sections.episodes ?? []).filter((each) => each.state !== "closed" && pages(each)).length, "open paging episodes");
  badge("dead_letters", store.sections.dead_letters?.counted ?? 0, "dead letters");
}

function badge(view, value, what) {
  const place = document.querySelector(`#views [data-view="${view}"] b`);
  place.hidden = !value;
  text(place, count(value));
  place.setAttribute("aria-label", `${count(value)} ${what}`);
  place.setAttribute("role", "img");
}

function setAxis(axis) {
  context.axis = axis;
  keep("axis", axis);
  text(byId("axis"), axis === "ts" ? "event time" : "clock time");
  if (current) update(true);
}

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  keep("theme", theme);
  context.theme = theme;
  text(byId("theme"), `${theme} theme`);
  if (current) update(true);
}

function controls() {
  byId("views").append(
    ...Object.keys(VIEWS).map((name, index) => h("a", { href: `#${name}`, "data-view": name, title: `Key: ${index + 1}` }, NAMES[name], " ", h("b", { hidden: true }))),
  );
  const themes = ["system", "light", "dark"];
  const turnTheme = () => setTheme(themes[(themes.indexOf(context.theme) + 1) % themes.length]);
  const turnAxis = () => setAxis(context.axis === "ts" ? "at" : "ts");
  byId("theme").addEventListener("click", turnTheme);
  byId("axis").addEventListener("click", turnAxis);
  setTheme(kept("theme", "system"));
  setAxis(context.axis);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => update(true));
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const view = Object.keys(VIEWS)[Number(event.key) - 1];
    if (view) location.hash = view;
    else if (event.key === "t") turnTheme();
    else if (event.key === "a") turnAxis();
  });
  addEventListener("hashchange", show);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // its target is no view
    byId("main").focus();
  });
}

async function tasks() {
  const picker = byId("task");
  picker.append(h("option", { value: task, selected: true }, task));
  picker.addEventListener("change", () => (location.pathname = `/tasks/${encodeURIComponent(picker.value)}/live`));
  try {
    const known = await (await fetch("/tasks")).json();
    const names = known.map((each) => each.task);
    refresh(picker, names.map((name) => h("option", { value: name, selected: name === task }, name)));
    picker.disabled = names.length < 2;
  } catch {
    picker.disabled = true; // it shows the task that it has
  }
}

document.title = `${task} · riverloop`;
controls();
tasks();
context.store = new Store(`/tasks/${encodeURIComponent(task)}/live/events`, (sections, rows) => {
  frame();
  if (current && (rows || sections.length > 0)) update(rows);
});
show();
