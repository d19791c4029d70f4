// Error budgets: one row per captcha type and SLO, each with its course.

import { get } from "./api.js";
import { budgetChart, burnChart, burnRates, courseTable, spark } from "./charts.js";
import { badge, bar, h, number, percent, plural, setAttribute, setText, span, table, time, times } from "./dom.js";

const section = document.getElementById("budgets");
const order = { exhausted: 0, critical: 1, warning: 2, healthy: 3 };
const acts = { throttle: "throttled", pause_non_critical: "paused, critical solves pass", pause: "paused" };
const keyOf = (slo) => `${slo.captcha_type}/${slo.slo}`;

/** The 24 hours behind each row's small chart, by row. */
const courses = new Map();
const SPARK_MS = 60_000;

const list = table({
  caption: "Error budgets per captcha type",
  keyOf,
  open: detail,
  columns: [
    { title: "Type", kind: "first", make: name },
    { title: "Status", make: statusCell },
    { title: "Budget left", kind: "bars", make: left },
    { title: "24 hours", kind: "spark-cell", make: small },
    { title: "Burn rate, 1 h", kind: "num", make: burn },
    { title: "Success", kind: "num", make: success },
    { title: "Failed / all", kind: "num", make: events },
  ],
});
section.querySelector(".place").append(list);

export function show({ slos }) {
  const judged = slos.filter((slo) => slo.total_events > 0);
  const quiet = slos.filter((slo) => slo.total_events === 0);
  judged.sort((a, b) => order[a.status] - order[b.status]
    || a.budget_remaining_ratio - b.budget_remaining_ratio || keyOf(a).localeCompare(keyOf(b)));
  list.hidden = judged.length === 0;
  section.querySelector(".none").hidden = judged.length > 0;
  list.show(judged);
  const more = section.querySelector(".quiet");
  more.hidden = quiet.length === 0;
  setText(more.querySelector("summary"), `${plural(quiet.length, "budget")} without events in the window`);
  setText(more.querySelector("p"), quiet.map(called).join(", "));
}

export const called = (slo) => (slo.slo === "success" ? slo.captcha_type : `${slo.captcha_type} (${slo.slo})`);

function name(cell) {
  const kind = h("span", { class: "sub" });
  const text = h("span");
  cell.append(text, kind);
  return (slo) => {
    setText(text, slo.captcha_type);
    setText(kind, slo.slo === "success" ? "" : slo.slo);
  };
}

function statusCell(cell) {
  const shown = badge();
  const policy = h("span", { class: "policy" });
  cell.append(shown, policy);
  return (slo) => {
    shown.set(slo.status);
    setText(policy, slo.policy ? acts[slo.policy] ?? slo.policy : "");
  };
}

function left(cell) {
  const shown = bar();
  cell.append(shown);
  return (slo) => {
    const ratio = slo.budget_remaining_ratio;
    const events = Math.round(slo.budget_remaining);
    const rest = events < 0 ? `${plural(-events, "failure")} over` : `${plural(events, "failure")} left`;
    shown.set({ ratio, words: percent(ratio), rest, level: slo.status });
  };
}

function small(cell, row) {
  const box = h("div", { class: "spark" });
  cell.append(box);
  const drawn = spark(box);
  let shown = "";
  const draw = (slo) => {
    const known = courses.get(keyOf(slo));
    if (!known?.course || shown === `${known.at}/${slo.status}`) return;
    shown = `${known.at}/${slo.status}`;
    drawn.show(known.course, slo.status);
  };
  return (slo) => {
    const known = courses.get(keyOf(slo));
    draw(slo);
    if (known && Date.now() - known.at < SPARK_MS) return;
    courses.set(keyOf(slo), { at: Date.now(), course: known?.course });
    queue(async () => {
      const query = { captcha_type: slo.captcha_type, slo: slo.slo, hours: 24 };
      const course = await get("slo/course", query).catch(() => null);
      if (!course) return courses.delete(keyOf(slo));
      courses.set(keyOf(slo), { at: Date.now(), course });
      draw(row.item);
    });
  };
}

/** One course after another: small charts must not keep the sidecar from its work. */
let last = Promise.resolve();
function queue(work) {
  last = last.then(work);
}

function burn(cell) {
  const figure = h("span", { class: "figure" });
  const of = h("span", { class: "sub" });
  cell.append(figure, of);
  return (slo) => {
    const rate = slo.burn_rates["1h"] ?? 0;
    const fast = slo.burn_rate_thresholds.fast;
    setText(figure, times(rate));
    setAttribute(figure, "data-status", rate > fast ? "critical" : rate > 1 ? "warning" : "healthy");
    setText(of, fast ? `alerts above ${times(fast)}` : "");
  };
}

function success(cell) {
  const figure = h("span", { class: "figure" });
  const of = h("span", { class: "sub" });
  cell.append(figure, of);
  return (slo) => {
    setText(figure, slo.current_rate == null ? "–" : percent(slo.current_rate));
    setText(of, `objective ${percent(slo.objective)}`);
  };
}

function events(cell) {
  const figure = h("span", { class: "figure" });
  const of = h("span", { class: "sub" });
  cell.append(figure, of);
  return (slo) => {
    setText(figure, `${number(slo.failures)} / ${number(slo.total_events)}`);
    setText(of, `in ${span(slo.window_seconds)}`);
  };
}

const RANGES = [[1, "1 h"], [6, "6 h"], [24, "24 h"], [720, "30 d"]];
const TIERS = { "1h": "fast", "6h": "medium", "1d": "slow", "3d": "longterm" };
const WINDOWS = ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "slo"];
let groups = 0;

/** What opens below a row: the course, the burn rates, and the figures behind them. */
function detail(box, row) {
  let hours = 24;
  let asked = 0;
  const group = `range-${++groups}`;
  const radios = RANGES.map(([value, text]) => {
    const input = h("input", { type: "radio", name: group, value, checked: value === hours });
    input.addEventListener("change", () => { hours = value; draw(); });
    return h("label", {}, input, h("span", { text }));
  });
  const budgetBox = h("div", { class: "chart" });
  const burnBox = h("div", { class: "chart" });
  const over = h("h3", { text: "Burn rate" });
  const wrong = h("p", { class: "trouble", hidden: true });
  const figures = h("tbody");
  const head = h("thead");
  const windows = h("dl", { class: "windows" });
  box.append(
    h("fieldset", { class: "ranges" }, h("legend", { text: "Course over" }), ...radios),
    wrong,
    h("div", { class: "charts" },
      h("div", {}, h("h3", { text: "Budget left" }), budgetBox),
      h("div", {}, over, burnBox)),
    h("h3", { text: "Burn rate by window" }),
    windows,
    h("details", {}, h("summary", { text: "The course as a table" }),
      h("table", { class: "plain" }, h("caption", { text: "Course of the error budget, latest first" }), head, figures)),
  );
  const [budget, rate] = [budgetChart(budgetBox), burnChart(burnBox)];
  row.close = () => { budget.end(); rate.end(); };

  async function draw() {
    asked = Date.now();
    const mine = asked;
    const slo = row.item;
    // One hour more, for the burn rate over the trailing hour at the left edge.
    const query = { captcha_type: slo.captcha_type, slo: slo.slo, hours: Math.min(720, hours + 1) };
    let course;
    try {
      course = await get("slo/course", query);
    } catch (error) {
      setText(wrong, `The course cannot be shown: ${error.message}.`);
      wrong.hidden = false;
      return;
    }
    if (mine !== asked) return;
    // Its last step is not over: what holds now is known better.
    const now = course.points.at(-1);
    if (now) now.budget_remaining_ratio = slo.budget_remaining_ratio;
    wrong.hidden = true;
    let rates = burnRates(course, slo.objective);
    const from = Date.now() - hours * 3_600_000;
    const skip = course.points.findIndex((point) => Date.parse(point.at) >= from);
    course.points = course.points.slice(Math.max(0, skip));
    rates = rates.slice(Math.max(0, skip));
    setText(over, `Burn rate over ${span(Math.max(3600, course.step_seconds))}`);
    budget.show(course);
    rate.show(course, rates, slo.burn_rate_thresholds.fast);
    const shown = courseTable(course, rates);
    head.replaceChildren(shown.head);
    figures.replaceChildren(...shown.lines.map(([at, good, bad, ratio, burned]) => h("tr", {},
      h("th", { scope: "row" }, time(at, "")),
      ...[number(good), number(bad), percent(ratio), times(burned)].map((text) => h("td", { text })))));
  }

  draw();
  return (slo) => {
    if (Date.now() - asked > (hours > 6 ? 60_000 : 15_000)) draw();
    windows.replaceChildren(...WINDOWS.filter((name) => name in slo.burn_rates).map((name) => {
      const threshold = slo.burn_rate_thresholds[TIERS[name]];
      const burned = slo.burn_rates[name];
      const status = threshold && burned > threshold ? "critical" : burned > 1 ? "warning" : "healthy";
      const of = threshold ? `alerts above ${times(threshold)}` : "";
      return h("div", {},
        h("dt", { text: name === "slo" ? `window (${span(slo.window_seconds)})` : name }),
        h("dd", {}, h("span", { class: "figure", "data-status": status, text: times(burned) }), h("span", { class: "sub", text: of })));
    }));
  };
}
