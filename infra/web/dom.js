// Elements are made here and nowhere else: text is always text, so that nothing foreign becomes markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "width%") element.style.width = `${Math.max(0, Math.min(100, value))}%`;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** Make an HTML element; children are elements, or text. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** Make an SVG element. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Replace what is in an element; whoever had the focus in it keeps it, by `data-key`. */
export function refresh(element, ...children) {
  const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  if (key !== undefined) element.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

/** Set an element's text, where it is another. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Make a panel: a heading with room for controls, and a body. */
export function panel(title, { note = "", controls = [], className = "" } = {}) {
  const body = h("div", { class: "body" });
  const hint = h("small", {}, note);
  const root = h("section", { class: `panel ${className}` }, h("h2", {}, title, " ", hint, h("span", { class: "controls" }, controls)), body);
  return { root, body, note: (value) => text(hint, value) };
}

/** Make a table; a cell is text, an element, or {text, class}. */
export function table(head, rows, caption) {
  const cell = (tag) => (value) => {
    const special = value !== null && typeof value === "object" && !(value instanceof Node);
    return h(tag, { class: special ? value.class : undefined, scope: tag === "th" ? "col" : undefined, title: special ? value.title : undefined }, special ? value.text : value);
  };
  const first = (value) => {
    const made = cell("th")(value);
    made.scope = "row";
    return made;
  };
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "hidden" }, caption), h("thead", {}, h("tr", {}, head.map(cell("th")))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.slice(0, 1).map(first), row.slice(1).map(cell("td")))))));
}

export const num = (value) => ({ text: value, class: "num" });
export const empty = (sentence) => h("p", { class: "empty" }, sentence);
