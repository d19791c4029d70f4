// Tenants: what each may use and has used, its money, and why it was refused of late.

import { get } from "./api.js";
import { bar, h, level, money, number, percent, plural, setAttribute, setText, setTime, span, table } from "./dom.js";
import { pressure } from "./overview.js";

const section = document.getElementById("tenants");
const form = section.querySelector("form");
const more = section.querySelector(".more");
const names = document.getElementById("tenant-names");
const FIRST = 50;
let all = [];
let isWhole = false;
let namesShown = "";

const list = table({
  caption: "Tenants against their limits",
  keyOf: (tenant) => tenant.name,
  open: refusals,
  columns: [
    { title: "Tenant", kind: "first", make: (cell) => (tenant) => setText(cell, tenant.name) },
    { title: "Solves today", kind: "bars", make: used((t) => t.day_solves, (t) => t.limits.daily_limit, number) },
    { title: "Spent today", kind: "bars", make: used((t) => t.day_spent_usd, (t) => t.limits.daily_spend_cap_usd, money) },
    { title: "Spent this month", kind: "bars", make: used((t) => t.month_spent_usd, (t) => t.limits.monthly_spend_cap_usd, money) },
    { title: "In flight", kind: "bars short", make: used((t) => t.in_flight, (t) => t.limits.in_flight_max, number) },
    { title: "Balance", kind: "num", make: balance },
  ],
});
section.querySelector(".place").append(list);

form.addEventListener("input", () => draw());
form.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", () => { isWhole = !isWhole; draw(); });

export function show({ tenants }) {
  all = tenants.map((tenant) => ({ ...tenant, pressure: pressure(tenant) }));
  draw();
  const joined = tenants.map((tenant) => tenant.name).join("\n");
  if (joined === namesShown) return;
  namesShown = joined;
  names.replaceChildren(...tenants.map((tenant) => h("option", { value: tenant.name })));
}

const by = {
  worst: (a, b) => b.pressure - a.pressure || b.month_spent_usd - a.month_spent_usd,
  name: () => 0,
  day: (a, b) => b.day_spent_usd - a.day_spent_usd,
  month: (a, b) => b.month_spent_usd - a.month_spent_usd,
  flight: (a, b) => b.in_flight - a.in_flight,
  balance: (a, b) => (a.balance_usd ?? Infinity) - (b.balance_usd ?? Infinity) || 0,
};

function draw() {
  const wanted = form.elements.name.value.trim().toLowerCase();
  const found = all.filter((tenant) => tenant.name.toLowerCase().includes(wanted));
  const compare = by[form.elements.sort.value];
  found.sort((a, b) => compare(a, b) || a.name.localeCompare(b.name));
  const shown = isWhole ? found : found.slice(0, FIRST);
  list.hidden = shown.length === 0;
  list.show(shown);
  const none = section.querySelector(".none");
  none.hidden = shown.length > 0;
  setText(none, all.length === 0 ? "No tenants yet." : "No tenant has such a name.");
  more.hidden = found.length <= FIRST;
  setText(more, isWhole ? `Show the first ${FIRST}` : `Show all ${number(found.length)} tenants`);
}

/** A column of something used against its limit. */
function used(value, limit, words) {
  return (cell) => {
    const shown = bar();
    cell.append(shown);
    return (tenant) => {
      const [now, most] = [value(tenant), limit(tenant)];
      const ratio = most == null ? null : most === 0 ? 1 : now / most;
      const rest = most == null ? "" : `of ${words(most)}`;
      shown.set({ ratio, words: words(now), rest, level: level(ratio) });
      shown.title = ratio == null ? "no limit" : `${percent(ratio)} used`;
    };
  };
}

function balance(cell) {
  const figure = h("span", { class: "figure" });
  const held = h("span", { class: "sub" });
  cell.append(figure, held);
  return (tenant) => {
    const has = tenant.balance_usd;
    setText(figure, has == null ? "–" : money(has));
    cell.classList.toggle("void", has == null && tenant.held_usd === 0);
    setAttribute(figure, "data-status", has != null && has - tenant.held_usd <= 0 ? "critical" : "healthy");
    setAttribute(cell, "title", has == null ? "not prepaid" : "prepaid");
    setText(held, tenant.held_usd > 0 ? `${money(tenant.held_usd)} held` : "");
  };
}

/** What opens below a tenant. */
function refusals(box, row) {
  const facts = h("p", { class: "facts" });
  const wrong = h("p", { class: "trouble", hidden: true });
  const none = h("p", { class: "none", hidden: true, text: "Nothing was refused of late." });
  const refused = table({
    caption: "Refused of late",
    keyOf: (item) => `${item.reason}/${item.key}/${item.captcha_type}/${item.mode}`,
    columns: [
      { title: "Reason", kind: "first", make: reason },
      { title: "Times", kind: "num", make: (cell) => (item) => setText(cell, number(item.count)) },
      { title: "What the client was told", kind: "wrap", make: (cell) => (item) => setText(cell, item.message) },
      { title: "Key, type", make: (cell) => (item) => setText(cell, [item.key, item.captcha_type].filter(Boolean).join(", ")) },
      { title: "Last", make: when((item) => item.last_at) },
      { title: "Frees", make: frees },
    ],
  });
  refused.hidden = true;
  box.append(facts, h("h3", { text: "Refused of late" }), wrong, none, refused);
  let isAsking = false;

  async function ask(tenant) {
    if (isAsking) return;
    isAsking = true;
    try {
      const { rejections } = await get(`tenants/${encodeURIComponent(tenant.name)}/rejections`);
      wrong.hidden = true;
      none.hidden = rejections.length > 0;
      refused.hidden = rejections.length === 0;
      refused.show(rejections);
    } catch (error) {
      setText(wrong, `Cannot be shown: ${error.message}.`);
      wrong.hidden = false;
    }
    isAsking = false;
  }

  return (tenant) => {
    const { rate_per_minute: rate, burst } = tenant.limits;
    const said = [
      rate == null ? "No rate limit" : `Rate ${number(rate)} per minute${burst == null ? "" : `, ${number(burst)} at once`}`,
      `${plural(tenant.open, "open solve")}, ${money(tenant.held_usd)} held`,
      `${money(tenant.spent_usd)} charged ever`,
    ];
    setText(facts, said.join(" · "));
    ask(tenant);
  };
}

function reason(cell) {
  const [word, mode] = [h("span"), h("span", { class: "sub" })];
  cell.append(word, mode);
  return (item) => {
    setText(word, item.reason);
    setText(mode, item.mode === "shadow" ? "not enforced" : "");
  };
}

function when(of) {
  return (cell) => {
    const node = h("time");
    cell.append(node);
    return (item) => setTime(node, of(item));
  };
}

function frees(cell) {
  const node = h("time");
  const word = h("span", { class: "sub" });
  cell.append(node, word);
  return (item) => {
    const wait = item.retry_at ? (Date.parse(item.retry_at) - Date.now()) / 1000 : null;
    node.hidden = wait == null;
    if (wait != null) setTime(node, item.retry_at);
    setText(word, wait == null ? "not by waiting" : wait > 0 ? `in ${span(wait)}` : "free by now");
  };
}
