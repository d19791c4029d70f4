// The page's clock: asks every five seconds while it is seen, and says how old what it shows is.

import { get, token, Unauthorized } from "./api.js";
import * as budgets from "./budgets.js";
import { local, setText, span, zone } from "./dom.js";
import * as overview from "./overview.js";
import * as solves from "./solves.js";
import * as tenants from "./tenants.js";

const EVERY_MS = 5_000;

const updated = document.getElementById("updated");
const ask = document.getElementById("ask");
const forget = document.getElementById("forget");
let timer = 0;
let isRunning = false;
let lastGood = null;
let failed = "";

/** Each part by its section: what it asks, and how that is shown. */
const parts = {
  budgets: () => get("slo"),
  alerts: () => get("alerts"),
  tenants: () => get("tenants"),
  accounts: () => get("accounts"),
  solves: () => solves.refresh().then(() => true),
  rejections: () => get("rejections"),
};

async function refresh() {
  clearTimeout(timer);
  if (isRunning || document.hidden || ask.open) return;
  isRunning = true;
  const names = Object.keys(parts);
  const results = await Promise.allSettled(names.map((name) => parts[name]()));
  isRunning = false;
  const got = Object.fromEntries(names.map((name, index) => [name, results[index]]));
  if (results.some(({ reason }) => reason instanceof Unauthorized)) return askForToken();
  forget.hidden = token.get() === "";
  const isDown = names.every((name) => got[name].status === "rejected");
  for (const [name, { reason }] of Object.entries(got)) trouble(name, reason, isDown);
  const value = (name) => got[name].value;
  if (value("budgets")) {
    budgets.show(value("budgets"));
    solves.offer([...new Set(value("budgets").slos.map((slo) => slo.captcha_type))].toSorted());
  }
  if (value("alerts")) overview.showAlerts(value("alerts"));
  if (value("tenants")) tenants.show(value("tenants"));
  if (value("accounts")) overview.showAccounts(value("accounts"));
  if (value("rejections")) overview.showRejections(value("rejections"));
  conclude(got, value);
  timer = setTimeout(refresh, EVERY_MS);
}

/** The state line: what holds, or that it is not known. */
function conclude(got, value) {
  const wrong = Object.entries(got).filter(([, { status }]) => status === "rejected");
  const told = ["budgets", "alerts", "tenants", "accounts"].every((name) => value(name));
  document.body.classList.toggle("stale", !told);
  if (!told) {
    failed = wrong[0][1].reason.message;
    overview.showState("unknown", `Not known: ${failed}`);
  } else {
    failed = "";
    lastGood = Date.now();
    const { slos } = value("budgets");
    const { accounts, upstream_unreachable: unreachable } = value("accounts");
    overview.showState(...overview.judge({ alerts: value("alerts").alerts, slos, unreachable }));
    overview.showFigures({ slos, tenants: value("tenants").tenants, accounts });
  }
  age();
}

/** What could not be asked keeps its last figures, and says so; where all failed the top line says it for all. */
function trouble(name, error, isDown) {
  const section = document.getElementById(name);
  const line = section.querySelector(":scope > .trouble");
  section.classList.toggle("stale", isDown || error != null);
  line.hidden = isDown || error == null;
  if (error) setText(line, `Not refreshed: ${error.message}.`);
}

function age() {
  if (failed) {
    const since = lastGood ? `figures of ${local(lastGood)}, ${span((Date.now() - lastGood) / 1000)} old` : "no figures yet";
    setText(updated, `refresh failed; ${since}`);
  } else if (lastGood) {
    setText(updated, `updated ${span((Date.now() - lastGood) / 1000)} ago`);
  }
}

function askForToken() {
  const wrong = document.getElementById("ask-wrong");
  setText(wrong, token.get() === "" ? "" : "This is not the token.");
  token.forget();
  overview.showState("unknown", "Waiting for the token");
  document.getElementById("token").value = "";
  if (!ask.open) ask.showModal();
}

// Escape would leave a page without figures and without a question.
ask.addEventListener("cancel", (event) => event.preventDefault());
ask.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(document.getElementById("token").value.trim());
  ask.close();
  refresh();
});
forget.addEventListener("click", () => {
  token.forget();
  location.reload();
});
document.addEventListener("visibilitychange", refresh);
setInterval(age, 1_000);
setText(document.getElementById("zone"), zone);
refresh();
