// Before the first paint: a page that is to be dark must not flash.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("riverloop.theme");
  } catch {
    // Storage may be forbidden; then the system's theme holds.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
