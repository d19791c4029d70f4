// Small helpers: elements, figures with units, and tables whose rows stay the same elements over time,
// so that a refresh takes away neither the focus nor what is open.

export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const SVG = document.querySelector("svg").namespaceURI;

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** Touches the page only where something changed. */
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

const count = new Intl.NumberFormat("en");
export const number = (value) => count.format(value);

export function plural(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** A share: one decimal where whole percents would hide the difference. */
export function percent(ratio) {
  const value = ratio * 100;
  const near = Math.abs(value) < 10 || (value > 95 && value < 100);
  const text = value.toFixed(near ? 1 : 0).replace(/\.0$/, "");
  return `${text.replace("-", "−")} %`;
}

export const times = (rate) => `${rate < 9.95 ? rate.toFixed(1) : rate.toFixed(0)}×`;

const dollars = (least, most) => {
  const style = { style: "currency", currency: "USD" };
  return new Intl.NumberFormat("en-US", { ...style, minimumFractionDigits: least, maximumFractionDigits: most });
};
const sum = dollars(2, 2);
const exact = dollars(2, 6);
/** Sums to the cent, but nothing that is not zero is shown as zero. */
export function money(usd) {
  const small = usd !== 0 && Math.abs(usd) < 0.1;
  return (small ? exact : sum).format(usd).replace("-", "−");
}
export const price = (usd) => exact.format(usd);

export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  return value < 120 ? `${value.toFixed(0)} s` : span(value);
}

/** A length of time in its largest unit that fits. */
export function span(value) {
  const total = Math.max(0, Math.round(value));
  if (total < 120) return `${total} s`;
  if (total < 3600) return `${Math.round(total / 60)} min`;
  if (total < 172_800) return `${Math.round(total / 3600)} h`;
  return `${Math.round(total / 86_400)} d`;
}

const zoned = new Intl.DateTimeFormat("en", { hour: "numeric", timeZoneName: "short" });
export const zone = zoned.formatToParts().find((part) => part.type === "timeZoneName").value;
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const dated = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** Local time; with its day when that is another one than today. */
export function local(at, suffix = ` ${zone}`) {
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  return `${today ? clock.format(date) : dated.format(date)}${suffix}`;
}

export function setTime(node, at, suffix) {
  setText(node, at ? local(at, suffix) : "never");
  if (!at) return;
  setAttribute(node, "datetime", at);
  setAttribute(node, "title", `${new Date(at).toISOString().replace("T", " ").slice(0, 19)} UTC`);
}

export function time(at, suffix) {
  const node = h("time");
  setTime(node, at, suffix);
  return node;
}

/** A word with its colour and its shape. */
export function badge() {
  const use = icon("unknown");
  const word = h("span");
  const node = h("span", { class: "badge" }, use, word);
  node.set = (status, text = status) => {
    setAttribute(node, "data-status", status);
    setAttribute(use.firstChild, "href", `#i-${status}`);
    setText(word, text);
  };
  return node;
}

/** A figure with a bar under it; without a limit the bar is left out. */
export function bar() {
  const fill = h("span", { class: "fill" });
  const track = h("span", { class: "track", "aria-hidden": "true" }, fill);
  const text = h("span", { class: "figure" });
  const of = h("span", { class: "of" });
  const node = h("span", { class: "bar" }, h("span", { class: "words" }, text, of), track);
  node.set = ({ ratio, words, rest = "", level = "healthy" }) => {
    setText(text, words);
    setText(of, rest);
    track.hidden = ratio == null;
    fill.style.width = `${Math.min(1, Math.max(0, ratio ?? 0)) * 100}%`;
    setAttribute(node, "data-status", level);
  };
  return node;
}

/** How near to a limit is how bad. */
export function level(ratio) {
  if (ratio == null || ratio < 0.8) return "healthy";
  return ratio < 1 ? "warning" : "critical";
}

const known = new WeakMap();

/** Makes `parent` show `items` in order, one element each, kept from call to call by `keyOf`. */
export function keyed(parent, items, keyOf, create, update) {
  const old = known.get(parent) ?? new Map();
  const now = new Map();
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const node = old.get(key) ?? create(item);
    now.set(key, node);
    old.delete(key);
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of old.values()) node.remove();
  known.set(parent, now);
  // An element that is moved loses the focus.
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

let detailIds = 0;

/**
 * A table. A column is `{ title, kind, make }`: `make(cell, row)` builds the cell once and returns what
 * shows an item in it. With `open(box, row)` the first column opens a part below the row.
 * The roles are said aloud since on a phone rows are laid out as cards.
 */
export function table({ caption, columns, keyOf, open }) {
  const heads = columns.map(({ title, kind = "" }) =>
    h("th", { scope: "col", role: "columnheader", class: kind, text: title }));
  const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads));
  const node = h("table", { role: "table", hidden: true }, h("caption", { text: caption }), head);

  function create(item) {
    const body = h("tbody", { role: "rowgroup" });
    const line = h("tr", { role: "row", class: "line" });
    body.append(line);
    const row = { body, item, isOpen: false, show: () => {} };
    row.updates = columns.map(({ title, kind = "", make }, index) => {
      const props = index === 0
        ? { scope: "row", role: "rowheader", class: kind }
        : { role: "cell", class: kind, "data-label": title };
      const cell = h(index === 0 ? "th" : "td", props);
      line.append(cell);
      return make(index === 0 && open ? opener(cell, row) : cell, row);
    });
    rows.set(body, row);
    return body;
  }

  function opener(cell, row) {
    const button = h("button", { type: "button", class: "opener", "aria-expanded": "false" }, icon("open"));
    const name = h("span", { class: "name" });
    button.append(name);
    cell.append(button);
    const id = `detail-${++detailIds}`;
    const toggle = () => {
      row.isOpen = !row.isOpen;
      button.setAttribute("aria-expanded", row.isOpen);
      row.body.classList.toggle("open", row.isOpen);
      if (!row.isOpen) {
        row.close?.();
        row.body.lastElementChild.remove();
        button.removeAttribute("aria-controls");
        row.show = () => {};
        return;
      }
      const box = h("td", { role: "cell", colspan: columns.length, class: "detail", id });
      row.body.append(h("tr", { role: "row", class: "more-of" }, box));
      button.setAttribute("aria-controls", id);
      row.show = open(box, row) ?? (() => {});
      row.show(row.item);
    };
    button.addEventListener("click", (event) => { event.stopPropagation(); toggle(); });
    row.body.classList.add("opens");
    row.body.firstElementChild.addEventListener("click", (event) => {
      const picked = !document.getSelection().isCollapsed;
      if (!picked && !event.target.closest("a, button, input, select")) toggle();
    });
    return name;
  }

  const rows = new WeakMap();
  const bodies = bodiesOf(node);
  node.show = (items) => {
    keyed(bodies, items, keyOf, create, (body, item) => {
      const row = rows.get(body);
      row.item = item;
      for (const update of row.updates) update(item);
      row.show(item);
    });
  };
  return node;
}

/** The part of a table after its head, as `keyed` uses a parent. */
function bodiesOf(node) {
  return {
    get firstElementChild() { return node.tBodies[0] ?? null; },
    contains: (other) => node.contains(other),
    insertBefore: (body, place) => node.insertBefore(body, place),
  };
}
