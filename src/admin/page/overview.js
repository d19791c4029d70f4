// What is read first: the state in one line, the figures of the whole, alerts, accounts, rejections.

import { called } from "./budgets.js";
import { badge, bar, h, keyed, money, number, percent, plural, setAttribute, setText, setTime, table } from "./dom.js";

const state = document.getElementById("state");
const words = document.getElementById("state-text");
const rank = ["exhausted", "critical", "warning", "healthy"];

/** Says the worst there is. A text that stays the same is not said again. */
export function showState(status, text) {
  setAttribute(state, "data-status", status);
  setAttribute(state.querySelector("use"), "href", `#i-${status}`);
  setText(words, text);
  document.title = `${status === "healthy" ? "" : "(!) "}Solvegate: ${text}`;
}

export function judge({ alerts, slos, unreachable }) {
  const of = (severity) => alerts.filter((alert) => alert.severity === severity).length;
  const [critical, warning, info] = [of("critical"), of("warning"), of("info")];
  const counted = [];
  if (critical) counted.push(plural(critical, "critical alert"));
  if (warning) counted.push(plural(warning, "warning"));
  const worst = worstBudget(slos);
  const tail = worst ? `. Worst error budget: ${called(worst)}, ${worst.status}` : "";
  if (unreachable) return ["critical", `The provider cannot be reached: ${counted.join(", ")}${tail}`];
  if (critical) return ["critical", `Critical: ${counted.join(", ")}${tail}`];
  if (warning) return ["warning", `Needs a look: ${counted.join(", ")}${tail}`];
  const policy = info ? `, ${plural(info, "note")}` : "";
  return ["healthy", `All is well: no alerts${policy}${tail}`];
}

function worstBudget(slos) {
  const judged = slos.filter((slo) => slo.status !== "healthy");
  judged.sort((a, b) => rank.indexOf(a.status) - rank.indexOf(b.status)
    || a.budget_remaining_ratio - b.budget_remaining_ratio);
  return judged[0];
}

const figures = document.getElementById("figures");

export function showFigures({ slos, tenants, accounts }) {
  const add = (list, of) => list.reduce((sum, item) => sum + (of(item) ?? 0), 0);
  const flight = add(tenants, (tenant) => tenant.in_flight);
  const threads = add(accounts, (account) => account.threads);
  const budgets = rank.map((status) => [status, slos.filter((slo) => slo.status === status && slo.total_events > 0).length]);
  const poor = budgets.filter(([status, many]) => many > 0 && status !== "healthy");
  const near = tenants.filter((tenant) => pressure(tenant) >= 0.8).length;
  const shown = [
    ["Solves in flight", number(flight), threads ? `of ${plural(threads, "thread")}` : ""],
    ["Charged today", number(add(tenants, (tenant) => tenant.day_solves)), "solves"],
    ["Spent today", money(add(tenants, (tenant) => tenant.day_spent_usd)), `${money(add(tenants, (tenant) => tenant.month_spent_usd))} this month`],
    ["Error budgets", number(budgets[3][1]), `healthy${poor.map(([status, many]) => `, ${number(many)} ${status}`).join("")}`],
    ["Tenants", number(tenants.length), near ? `${number(near)} near or at a limit` : "none near a limit"],
  ];
  keyed(figures, shown, ([title]) => title, ([title]) => {
    const node = h("div", {}, h("dt", { text: title }), h("dd", {}, h("strong"), " ", h("span")));
    return node;
  }, (node, [, value, rest]) => {
    setText(node.querySelector("strong"), value);
    setText(node.querySelector("dd span"), rest);
  });
}

/** How much of its tightest limit a tenant uses; an empty prepaid balance is a limit too. */
export function pressure(tenant) {
  const { limits } = tenant;
  const share = (used, limit) => (limit == null ? 0 : limit === 0 ? 1 : used / limit);
  const all = [
    share(tenant.day_solves + tenant.open, limits.daily_limit),
    share(tenant.day_spent_usd + tenant.held_usd, limits.daily_spend_cap_usd),
    share(tenant.month_spent_usd + tenant.held_usd, limits.monthly_spend_cap_usd),
    share(tenant.in_flight, limits.in_flight_max),
  ];
  if (tenant.balance_usd != null && tenant.balance_usd - tenant.held_usd <= 0) all.push(1);
  return Math.max(...all);
}

const alertList = document.querySelector("#alerts .alerts");
const alertMore = document.querySelector("#alerts .more");
const ALERTS_FIRST = 8;
let allAlerts = false;
let alertsNow = [];
alertMore.addEventListener("click", () => { allAlerts = !allAlerts; showAlerts({ alerts: alertsNow }); });

export function showAlerts({ alerts }) {
  alertsNow = alerts;
  // The worst come first.
  const shown = allAlerts ? alerts : alerts.slice(0, ALERTS_FIRST);
  keyed(alertList, shown, (alert) => `${alert.name}/${alert.about}/${alert.message.replace(/[\d.]+/g, "")}`, () => {
    const mark = badge();
    const node = h("li", {}, mark, h("span", { class: "about" }), h("span", { class: "message" }), h("code", { class: "rule" }));
    node.mark = mark;
    return node;
  }, (node, alert) => {
    node.mark.set(alert.severity);
    setAttribute(node, "data-status", alert.severity);
    setText(node.querySelector(".about"), alert.about || "this process");
    setText(node.querySelector(".message"), alert.message);
    setText(node.querySelector(".rule"), alert.name);
  });
  document.querySelector("#alerts .none").hidden = alerts.length > 0;
  alertMore.hidden = alerts.length <= ALERTS_FIRST;
  setText(alertMore, allAlerts ? "Show fewer" : `Show all ${number(alerts.length)} alerts`);
}

const accountTable = table({
  caption: "Accounts at the provider",
  keyOf: (account) => account.name,
  columns: [
    { title: "Account", kind: "first", make: (cell) => (account) => setText(cell, account.name) },
    {
      title: "Health",
      make: (cell) => {
        const shown = badge();
        cell.append(shown);
        return (account) => shown.set(account.up ? "healthy" : "critical", account.up ? "up" : "down");
      },
    },
    {
      title: "Threads busy",
      kind: "bars",
      make: (cell) => {
        const shown = bar();
        cell.append(shown);
        return ({ threads, threads_working: working, in_flight: ours }) => {
          const ratio = threads ? (working ?? ours) / threads : null;
          const words = threads == null ? plural(ours, "solve") : number(working ?? ours);
          const rest = threads == null ? "threads not known" : `of ${number(threads)}, ${number(ours)} ours`;
          shown.set({ ratio, words, rest, level: ratio > 0.95 ? "warning" : "healthy" });
        };
      },
    },
    {
      title: "Balance",
      kind: "num",
      make: (cell) => {
        const [figure, at, said] = [h("span", { class: "figure" }), h("time"), h("span", { class: "sub" })];
        said.append("as of ", at);
        cell.append(figure, said);
        return (account) => {
          setText(figure, account.balance_usd == null ? "not known" : money(account.balance_usd));
          said.hidden = !account.refreshed_at;
          setTime(at, account.refreshed_at);
        };
      },
    },
  ],
});
document.querySelector("#accounts .place").append(accountTable);

export function showAccounts({ accounts }) {
  accountTable.hidden = accounts.length === 0;
  document.querySelector("#accounts .none").hidden = accounts.length > 0;
  accountTable.show(accounts);
}

const LATELY_MS = 300_000;
const seen = [];
const reasons = table({
  caption: "Rejections by reason",
  keyOf: (item) => item.reason,
  columns: [
    { title: "Reason", kind: "first", make: (cell) => (item) => setText(cell, item.reason) },
    {
      title: "Refused",
      kind: "bars",
      make: (cell) => {
        const shown = bar();
        cell.append(shown);
        return (item) => {
          const rest = item.enforced ? percent(item.share) : "";
          shown.set({ ratio: item.share, words: number(item.enforced), rest, level: "neutral" });
        };
      },
    },
    { title: "Not enforced", kind: "num", make: (cell) => (item) => setText(cell, number(item.shadow)) },
    { title: "Last 5 min", kind: "num", make: (cell) => (item) => setText(cell, item.lately == null ? "…" : number(item.lately)) },
  ],
});
document.querySelector("#rejections .place").append(reasons);

/** Counters since the start; those of the last minutes are known once the page has been open so long. */
export function showRejections({ rejections }) {
  const now = Date.now();
  const total = new Map(rejections.map((item) => [item.reason, item]));
  seen.push([now, total]);
  while (seen.length > 2 && seen[1][0] < now - LATELY_MS) seen.shift();
  const before = seen.length > 1 ? seen[0][1] : null;
  const all = [...total.values()].filter((item) => item.enforced + item.shadow > 0);
  const sum = all.reduce((added, item) => added + item.enforced, 0);
  for (const item of all) {
    item.share = sum ? item.enforced / sum : 0;
    const was = before?.get(item.reason);
    const [then, here] = [(was?.enforced ?? 0) + (was?.shadow ?? 0), item.enforced + item.shadow];
    // A counter that fell has begun anew.
    item.lately = before ? (here < then ? here : here - then) : null;
  }
  all.sort((a, b) => b.enforced + b.shadow - a.enforced - a.shadow || a.reason.localeCompare(b.reason));
  reasons.hidden = all.length === 0;
  document.querySelector("#rejections .none").hidden = all.length > 0;
  reasons.show(all);
}

