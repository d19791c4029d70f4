// The log of solves, newest first, with filters.

import { get } from "./api.js";
import { badge, h, price, seconds, setText, setTime, table, zone } from "./dom.js";

const section = document.getElementById("solves");
const form = section.querySelector("form");
const newest = section.querySelector(".newest");
const older = section.querySelector(".older");
const hint = section.querySelector(".pages .hint");
const LIMIT = 25;
const OUTCOMES = ["solved", "unsolvable", "provider_error", "timeout", "client_error", "account_error", "capacity"];
const looks = { solved: "healthy", client_error: "info", capacity: "warning", timeout: "warning", unsolvable: "warning" };

form.elements.outcome.append(...OUTCOMES.map((outcome) => h("option", { value: outcome, text: outcome })));

let after = "";
let next = null;
let asked = 0;

const list = table({
  caption: "Recent solves, the newest first",
  keyOf: (solve) => solve.solve,
  open: detail,
  columns: [
    { title: `Ended (${zone})`, kind: "first", make: ended },
    { title: "Tenant", kind: "name-cell", make: (cell) => (solve) => setText(cell, solve.tenant) },
    { title: "Type", make: (cell) => (solve) => setText(cell, solve.captcha_type) },
    { title: "Outcome", make: outcome },
    { title: "Took", kind: "num", make: (cell) => (solve) => setText(cell, seconds(solve.duration_seconds)) },
    { title: "Charged", kind: "num", make: (cell) => (solve) => setText(cell, price(solve.charged_usd)) },
  ],
});
section.querySelector(".place").append(list);

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => { after = ""; again(); });
newest.addEventListener("click", () => { after = ""; again(); });
older.addEventListener("click", () => { after = next; again(); });

/** Types to choose from: those that have an error budget. */
export function offer(types) {
  const select = form.elements.type;
  if (select.options.length === types.length + 1) return;
  const chosen = select.value;
  select.replaceChildren(h("option", { value: "", text: "any" }), ...types.map((type) => h("option", { value: type, text: type })));
  select.value = chosen;
}

/** Asks and shows. An older page stays as it is: it does not change any more. */
export async function refresh(isForced = false) {
  if (after !== "" && !isForced) return;
  const mine = ++asked;
  const { tenant, type, outcome: ends } = form.elements;
  const query = { tenant: tenant.value.trim(), type: type.value, outcome: ends.value, limit: LIMIT, after };
  const answer = await get("solves", query);
  if (mine !== asked) return;
  next = answer.next;
  const isFiltered = Boolean(query.tenant || query.type || query.outcome);
  const { solves } = answer;
  list.hidden = solves.length === 0;
  list.show(solves);
  const none = section.querySelector(".none");
  none.hidden = solves.length > 0;
  setText(none, isFiltered ? "No solve on record fits these filters." : "No solve is on record yet.");
  newest.hidden = after === "";
  older.hidden = next == null;
  setText(hint, after === "" ? "" : "An older page; it is not refreshed.");
}

async function again() {
  const trouble = section.querySelector(".trouble");
  try {
    await refresh(true);
    trouble.hidden = true;
  } catch (error) {
    setText(trouble, `Cannot be shown: ${error.message}.`);
    trouble.hidden = false;
  }
}

function ended(cell) {
  const node = h("time");
  cell.append(node);
  return (solve) => setTime(node, solve.ended_at, "");
}

function outcome(cell) {
  const shown = badge();
  const code = h("span", { class: "sub" });
  cell.append(shown, code);
  return (solve) => {
    const word = solve.outcome ?? "unknown";
    shown.set(solve.outcome ? looks[word] ?? "critical" : "unknown", word);
    const rest = [solve.error_code, solve.outcome === "solved" && !solve.delivered ? "not fetched" : ""];
    setText(code, rest.filter(Boolean).join(", "));
  };
}

function detail(box) {
  const facts = h("dl", { class: "windows wide-facts" });
  box.append(facts);
  return (solve) => {
    const at = (value) => { const node = h("time"); setTime(node, value); return node; };
    const said = [
      ["Task at the provider", solve.task_id ?? "none"],
      ["Key", solve.key],
      ["Account", solve.account],
      ["Price of a success", price(solve.price_usd)],
      ["Delivered", solve.delivered ? "yes" : "no"],
      ["Submitted", at(solve.submitted_at)],
      ["Settled", solve.settled_at ? at(solve.settled_at) : "not yet"],
      ["From address", solve.source_ip ?? "not kept"],
      ["Page", solve.page ?? "not kept"],
    ];
    facts.replaceChildren(...said.map(([title, value]) => h("div", {}, h("dt", { text: title }), h("dd", {}, value))));
  };
}
