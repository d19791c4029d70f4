// The charts, drawn by uPlot (a classic script; see vendor/).
/* global uPlot */

import { h, percent, times, zone } from "./dom.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const drawn = new Set();

/** Draws anew when the theme changes: a canvas does not follow style sheets. */
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const redraw of drawn) redraw();
});

/** Keeps a chart in `box` as wide as it is. `options(width)` is asked for at each new drawing. */
function chart(box, height, options) {
  let plot = null;
  let data = null;
  const draw = () => {
    plot?.destroy();
    plot = null;
    if (data && box.clientWidth > 0) {
      plot = new uPlot({ ...options(), width: box.clientWidth, height }, data, box);
    }
  };
  const watch = new ResizeObserver(() => {
    if (!plot) draw();
    else if (plot.width !== box.clientWidth) plot.setSize({ width: box.clientWidth, height });
  });
  watch.observe(box);
  drawn.add(draw);
  return {
    show(next) {
      data = next;
      draw();
    },
    end() {
      watch.disconnect();
      drawn.delete(draw);
      plot?.destroy();
    },
  };
}

const instants = (course) => course.points.map((point) => Date.parse(point.at) / 1000);
const budgets = (course) => course.points.map((point) => point.budget_remaining_ratio);

/** What a chart shows, for who does not see it. */
function spoken(course) {
  const left = budgets(course);
  const [first, last] = [left[0] ?? 1, left.at(-1) ?? 1];
  return `Error budget left: from ${percent(first)} to ${percent(last)}, lowest ${percent(Math.min(...left))}`;
}

const status = { healthy: "good", warning: "warn", critical: "bad", exhausted: "bad" };
const faint = (hex) => `${hex}26`;

/** A small course without axes. */
export function spark(box) {
  let state = "healthy";
  const made = chart(box, 30, () => ({
    legend: { show: false },
    cursor: { show: false },
    padding: [3, 0, 3, 0],
    axes: [{ show: false }, { show: false }],
    scales: { y: { range: (_, low) => [Math.min(0, Math.max(low, -1)), 1] } },
    series: [{}, {
      stroke: colour(status[state]),
      fill: faint(colour(status[state])),
      fillTo: 0,
      width: 1.5,
      points: { show: false },
    }],
  }));
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", "24 hours: not known yet");
  return {
    show(course, now) {
      state = now;
      box.setAttribute("aria-label", `24 hours. ${spoken(course)}`);
      made.show([instants(course), budgets(course).map((left) => Math.max(left, -1))]);
    },
    end: made.end,
  };
}

function axes(format) {
  const line = { stroke: colour("line"), width: 1 };
  const text = { stroke: colour("soft"), font: "12px system-ui, sans-serif", ticks: { ...line, size: 4 } };
  return [
    { ...text, grid: { show: false }, size: 44, space: 76 },
    { ...text, grid: line, size: 56, values: (_, ticks) => ticks.map(format) },
  ];
}

// 24 hours, and the day only where it changes.
const CLOCK = [
  [86_400 * 2, "{D} {MMM}", null, null, null, null, null, null, 1],
  [3600, "{HH}:{mm}", null, null, "\n{D} {MMM}", null, null, null, 1],
  [1, "{HH}:{mm}", null, null, "\n{D} {MMM}", null, null, null, 1],
];

function full(format, series, bounds) {
  const [across, up] = axes(format);
  return {
    padding: [10, 14, 0, 0],
    cursor: { drag: { x: false, y: false }, points: { size: 7 } },
    legend: { live: true },
    // Without a pointer the legend tells the latest figures.
    hooks: { setCursor: [latest], ready: [latest] },
    axes: [{ ...across, values: CLOCK }, up],
    scales: { y: { range: bounds } },
    series: [{ label: `Time (${zone})`, value: "{D} {MMM} {HH}:{mm}" }, ...series],
  };
}

function latest(plot) {
  if (plot.cursor.idx == null) plot.setLegend({ idx: plot.data[0].length - 1 });
}

const flat = (label, name, format) => ({
  label,
  stroke: colour(name),
  width: 1,
  dash: [5, 4],
  points: { show: false },
  value: (_, value) => (value == null ? "–" : format(value)),
});

/** How much of the budget was left over time. */
export function budgetChart(box) {
  box.setAttribute("role", "img");
  const left = () => ({
    label: "Budget left",
    stroke: colour("accent"),
    fill: faint(colour("accent")),
    fillTo: 0,
    width: 2,
    points: { show: false },
    value: (_, value) => (value == null ? "–" : percent(value)),
  });
  const bounds = (_, low) => [low < 0 ? low * 1.05 : 0, 1];
  const made = chart(box, 220, () => full(percent, [left(), flat("Spent below", "bad", percent)], bounds));
  return {
    show(course) {
      box.setAttribute("aria-label", spoken(course));
      const at = instants(course);
      made.show([at, budgets(course), at.map(() => 0)]);
    },
    end: made.end,
  };
}

/** Burn rate over the trailing hour, or over one step where steps are longer. */
export function burnRates(course, objective) {
  const steps = Math.max(1, Math.round(3600 / course.step_seconds));
  let good = 0;
  let bad = 0;
  return course.points.map((point, index) => {
    good += point.good;
    bad += point.bad;
    const gone = course.points[index - steps];
    good -= gone?.good ?? 0;
    bad -= gone?.bad ?? 0;
    return good + bad === 0 ? 0 : bad / (good + bad) / (1 - objective);
  });
}

/** How fast the budget was spent, against what is allowed and what pages. */
export function burnChart(box) {
  box.setAttribute("role", "img");
  const burn = () => ({
    label: "Burn rate",
    stroke: colour("violet"),
    fill: faint(colour("violet")),
    fillTo: 0,
    width: 2,
    points: { show: false },
    value: (_, value) => (value == null ? "–" : times(value)),
  });
  const series = () => [burn(), flat("Allowed", "soft", times), flat("Alerts above", "bad", times)];
  const bounds = (_, low, high) => [0, Math.max(2, high * 1.1)];
  const made = chart(box, 220, () => full((tick) => `${tick}×`, series(), bounds));
  return {
    show(course, rates, threshold) {
      const at = instants(course);
      const most = Math.max(0, ...rates);
      box.setAttribute("aria-label", `Burn rate: now ${times(rates.at(-1) ?? 0)}, highest ${times(most)}`);
      made.show([at, rates, at.map(() => 1), at.map(() => threshold ?? null)]);
    },
    end: made.end,
  };
}

/** A course in a few lines, to be read instead of seen. */
export function courseTable(course, rates) {
  const every = Math.max(1, Math.ceil(course.points.length / 24));
  const lines = [];
  for (let end = course.points.length; end > 0; end -= every) {
    const part = course.points.slice(Math.max(0, end - every), end);
    const total = (name) => part.reduce((sum, point) => sum + point[name], 0);
    lines.push([part[0].at, total("good"), total("bad"), part.at(-1).budget_remaining_ratio, rates[end - 1]]);
  }
  return { lines, head: h("tr", {}, ...[`From (${zone})`, "Good", "Bad", "Budget left", "Burn rate"].map((text) => h("th", { scope: "col", text }))) };
}
