// What the sidecar is shown in: quiet, at work, in trouble, crowded.

import { day, drive, forms, keyOf, World } from "./world.mjs";

export const LONG = "tenant-of-the-longest-name-there-may-be_eu-central-1-production";

const slo = "slo: { default: { min_events: 20 }, policy: [{ when: { status: exhausted }, action: { throttle: 0.5 } }] }";
const prices = "prices: { default: 0.003, recaptcha_v3: 0.004, turnstile: 0.002, image: 0.001 }";

const tenants = (list) => ["tenants:", ...list.map(([name, settings = ""]) =>
  `  ${name}: { ${settings}${settings && ", "}keys: { app: { key: ${keyOf(name)} } } }`)].join("\n");

const usual = tenants([
  ["acme", "in_flight_max: 20, daily_limit: 5000, monthly_spend_cap: 200.00, rate_per_minute: 6000, burst: 600"],
  ["betting", "rate_per_minute: 10, burst: 3, daily_spend_cap: 4.00"],
  ["crawler", "prepaid: { opening_balance: 0.08 }, allow_types: [turnstile]"],
  ["free", "daily_limit: 25"],
  ["qa", "enforce: false, rate_per_minute: 12, burst: 3"],
  ["shop-frontend", "daily_limit: 60, monthly_spend_cap: 0.20"],
  [LONG, "daily_limit: 1000000, daily_spend_cap: 999999.99"],
]);

const steady = {
  recaptcha_v2: [14, () => 0.011],
  recaptcha_v3: [6, (ago) => (ago > 600 && ago < 700 ? 0.2 : 0.012)],
  image: [25, () => 0.004],
  grid: [2, (ago) => (ago < 700 ? 0.045 : 0.03)],
  geetest_v4: [1, () => 0.01],
};
const troubled = {
  ...steady,
  turnstile: [11, (ago) => (ago < 75 ? 0.62 : 0.014)],
  cloudflare_challenge: [3, (ago) => (ago > 240 && ago < 420 ? 0.3 : 0.02)],
};

const many = (count, ...job) => Array.from({ length: count }, () => job);

export const empty = () => World.start({ config: "" });
export const withToken = (token) => World.start({ config: "", token });

export async function busy() {
  const world = await World.start({ config: [slo, prices, usual].join("\n"), history: day({ ...steady, turnstile: [11, () => 0.014] }, 3) });
  await traffic(world);
  return world;
}

export async function incident(options = {}) {
  const config = [slo, prices, usual].join("\n");
  const world = await World.start({ config, history: day(troubled, 3), ...options });
  await world.control("errors", ["turnstile/unsolvable=0.7"]);
  await traffic(world);
  return world;
}

async function traffic(world) {
  await drive(world, [
    ...many(16, "acme", forms.recaptcha_v2),
    ...many(14, "acme", forms.turnstile),
    ...many(6, "acme", forms.recaptcha_v3),
    ...many(9, "betting", forms.turnstile),
    ...many(48, "crawler", forms.turnstile),
    ...many(3, "crawler", forms.recaptcha_v2),
    ...many(31, "free", forms.recaptcha_v2),
    ...many(6, "qa", forms.recaptcha_v3),
    ...many(52, "shop-frontend", forms.recaptcha_v3),
    ...many(4, LONG, forms.recaptcha_v2),
  ], 12);
  // Some that are under way while the page is looked at.
  await world.control("solve-times", ["recaptcha_v2=3h"]);
  for (let count = 0; count < 7; count += 1) await world.solve("acme", forms.recaptcha_v2, { poll: false });
}

export const name = (index) => `tenant-${String(index).padStart(4, "0")}`;

export async function crowd() {
  const list = Array.from({ length: 1000 }, (_, index) => [name(index), `daily_limit: ${index % 7 === 0 ? 2 : 50}, monthly_spend_cap: 5.00`]);
  const world = await World.start({ config: [slo, prices, tenants(list)].join("\n"), history: day(steady) });
  await drive(world, Array.from({ length: 60 }, (_, index) => many(index % 7 === 0 ? 3 : 1, name(index), forms.turnstile)).flat());
  return world;
}
