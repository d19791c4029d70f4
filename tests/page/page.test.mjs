// The status page as people meet it, in real Chromium: each view, by mouse, by keyboard, on a phone, in the dark.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertFits, breaches, drawn, launch, leave, picture, visit } from "./browser.mjs";
import { drive, forms, until } from "./world.mjs";
import * as worlds from "./worlds.mjs";

let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

/** A test of one visit. */
async function visiting(world, options, look, allowed = []) {
  const page = await visit(browser, world, options);
  await look(page);
  await leave(page, allowed);
}

const text = async (page, selector) => (await page.locator(selector).innerText()).trim();
const untilText = (page, selector, pattern) =>
  until(`${selector} says ${pattern}`, async () => pattern.test(await text(page, selector)));

describe("a sidecar that has just started", () => {
  let world;
  before(async () => { world = await worlds.empty(); });
  after(() => world.close());

  for (const theme of ["light", "dark"]) {
    test(`says that nothing happened yet, in the ${theme}`, () => visiting(world, { theme }, async (page) => {
      await untilText(page, "#state", /^All is well: no alerts$/);
      assert.equal(await text(page, "#alerts .none"), "No alerts.");
      assert.match(await text(page, "#budgets .none"), /No solve has been judged yet/);
      assert.equal(await text(page, "#rejections .none"), "Nothing has been refused.");
      assert.equal(await text(page, "#solves .none"), "No solve is on record yet.");
      await picture(page, `empty-${theme}`);
      assert.deepEqual(await breaches(page), []);
    }));
  }
});

describe("a sidecar at work", () => {
  let world;
  before(async () => { world = await worlds.busy(); });
  after(() => world.close());

  test("shows what the API says", () => visiting(world, {}, async (page) => {
    const { slos } = await world.ask("slo");
    const judged = slos.filter((slo) => slo.total_events > 0);
    assert.equal(await page.locator("#budgets .place > table > tbody").count(), judged.length);
    assert.match(await text(page, "#budgets .quiet summary"), new RegExp(`^${slos.length - judged.length} budgets without events`));
    const { tenants } = await world.ask("tenants");
    const free = tenants.find((tenant) => tenant.name === "free");
    const row = page.locator("#tenants tbody", { has: page.getByText("free", { exact: true }) });
    assert.match(await row.innerText(), new RegExp(`\\b${free.day_solves}\\s+of 25\\b`));
    assert.match(await text(page, "#accounts .place"), /main[^]*up[^]*of 50[^]*\$10\.00/);
    await picture(page, "busy");
  }));

  test("a refused tenant's row tells why, how often and until when", () => visiting(world, {}, async (page) => {
    const { rejections: [refusal] } = await world.ask("tenants/free/rejections");
    await page.getByRole("button", { name: "free", exact: true }).click();
    const detail = page.locator("#tenants .detail");
    await detail.getByText(refusal.message).waitFor();
    const told = await detail.innerText();
    assert.match(told, new RegExp(`daily_limit\\s+${refusal.count}\\b`));
    assert.match(told, /in \d+ (h|min|s)/);
    const frees = detail.locator("td time").last();
    assert.equal(await frees.getAttribute("title"), `${refusal.retry_at.replace("T", " ").slice(0, 19)} UTC`);
  }));

  test("rejections are counted by reason, and those not enforced apart", () => visiting(world, {}, async (page) => {
    const row = (reason) => page.locator("#rejections tbody", { hasText: reason });
    await row("daily_limit").waitFor();
    assert.match(await row("daily_limit").innerText(), /daily_limit\s+6\b/);
    assert.match(await row("rate").innerText(), /^rate\s+\d+[^]*\s3\s/);
  }));

  test("a solve that ends appears, and the page says how old it is", () => visiting(world, {}, async (page) => {
    const rows = page.locator("#solves .place > table > tbody");
    await rows.first().waitFor();
    assert.match(await text(page, "#updated"), /^updated \d+ s ago$/);
    await drive(world, [["qa", forms.turnstile]]);
    await until("the new solve is shown", async () => /^[^]*qa\s+turnstile/.test(await rows.first().innerText()));
  }));

  test("solves are filtered by tenant, type and outcome, and paged", () => visiting(world, {}, async (page) => {
    const rows = page.locator("#solves .place > table > tbody");
    await until("a full page", async () => (await rows.count()) === 25);
    await page.getByRole("button", { name: "Older" }).click();
    await page.getByRole("button", { name: "Back to the newest" }).waitFor();
    const { solves, next } = await world.ask("solves?limit=25");
    const second = await world.ask(`solves?limit=25&after=${next}`);
    assert.equal(solves.length, 25);
    await until("the second page", async () => (await rows.count()) === second.solves.length);
    await page.getByLabel("Tenant", { exact: true }).fill("betting");
    await until("betting only", async () => {
      const all = await rows.allInnerTexts();
      return all.length > 0 && all.every((row) => /betting/.test(row));
    });
    await page.getByLabel("Type").selectOption("recaptcha_v3");
    await page.locator("#solves .none").waitFor();
    assert.equal(await text(page, "#solves .none"), "No solve on record fits these filters.");
    await page.getByLabel("Type").selectOption("");
    await page.getByLabel("Outcome").selectOption("solved");
    await rows.first().waitFor();
  }));

  test("the whole page can be used by keyboard", () => visiting(world, {}, async (page) => {
    await page.locator("#budgets .opener").first().waitFor();
    await page.locator("#solves .opener").first().waitFor();
    const seen = [];
    for (let step = 0; step < 120; step += 1) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const node = document.activeElement;
        const shown = node === document.body || node.matches(":focus-visible");
        const section = node.closest("section")?.id ?? "";
        return { what: `${section} ${node.name || node.className || node.tagName}`.trim(), shown };
      });
      assert.ok(at.shown, `the focus is not seen on ${at.what}`);
      seen.push(at.what);
      if (at.what === "solves older") break;
    }
    const wanted = ["skip", "budgets opener", "tenants name", "tenants sort", "tenants opener", "solves tenant", "solves type", "solves outcome", "solves opener", "solves older"];
    assert.deepEqual(wanted.filter((name) => !seen.includes(name)), []);
    const order = wanted.map((name) => seen.indexOf(name));
    assert.deepEqual(order, order.toSorted((a, b) => a - b));

    const opener = page.locator("#budgets .opener").first();
    await opener.focus();
    await page.keyboard.press("Enter");
    assert.equal(await opener.getAttribute("aria-expanded"), "true");
    await page.keyboard.press("Tab");
    await page.keyboard.press("ArrowLeft");
    assert.equal(await page.locator("#budgets input:checked").inputValue(), "6");
    // A refresh takes away neither what is open nor the focus.
    const updates = await page.locator("#updated").innerText();
    await until("a refresh", async () => (await text(page, "#updated")) !== updates);
    await untilText(page, "#updated", /^updated 0 s ago$/);
    assert.equal(await page.evaluate(() => document.activeElement.value), "6");
    assert.equal(await opener.getAttribute("aria-expanded"), "true");
  }));

  test("one part that fails says so, and the others go on", () => visiting(world, {}, async (page) => {
    await page.locator("#solves tbody").first().waitFor();
    const answer = { reason: "unavailable", message: "the record cannot be read at present; try again" };
    await page.route("**/api/v1/solves*", (route) => route.fulfill({ status: 503, json: answer }));
    await page.locator("#solves > .trouble").waitFor();
    assert.match(await text(page, "#solves > .trouble"), /the record cannot be read at present/);
    assert.equal(await page.locator("#solves .place > table > tbody").count(), 25);
    assert.equal(await page.locator("section.stale").count(), 1);
    assert.doesNotMatch(await text(page, "#state"), /Not known/);
    await page.unroute("**/api/v1/solves*");
    await page.locator("#solves > .trouble").waitFor({ state: "hidden" });
  }, [/503/]));

  test("it does not ask while it is hidden, and asks at once when it is seen", () => visiting(world, {}, async (page) => {
    let asked = 0;
    page.on("request", (request) => { if (request.url().endsWith("/api/v1/slo")) asked += 1; });
    const show = (hidden) => page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
    await show(true);
    const before = asked;
    await untilText(page, "#updated", /^updated (8|9|1\d) s ago$/);
    assert.ok(asked - before <= 1, `${asked - before} requests while hidden`);
    const hidden = asked;
    await show(false);
    await until("a request", () => asked > hidden);
  }));
});

describe("a sidecar in an incident", () => {
  let world;
  before(async () => { world = await worlds.incident(); });
  after(() => world.close());

  const views = [["light", "desktop"], ["dark", "desktop"], ["light", "phone"], ["dark", "phone"]];
  for (const [theme, size] of views) {
    test(`says what is wrong, ${theme}, ${size}`, () => visiting(world, { theme, size }, async (page) => {
      await untilText(page, "#state", /^Critical: \d+ critical alert.* Worst error budget: \w+, exhausted/);
      const { alerts } = await world.ask("alerts");
      const named = await page.locator("#alerts .rule").allInnerTexts();
      assert.deepEqual(named, alerts.slice(0, 8).map((alert) => alert.name));
      const ranks = alerts.map((alert) => ["critical", "warning", "info"].indexOf(alert.severity));
      assert.deepEqual(ranks, ranks.toSorted());
      const statuses = await page.locator("#budgets .badge").allInnerTexts();
      assert.deepEqual(statuses.slice(0, 2), ["exhausted", "exhausted"]);
      const sparks = page.locator("#budgets .spark");
      const count = await sparks.count();
      await until("small charts", async () => (await drawn(page, "#budgets .spark canvas")) === count);
      if (theme === "light" && size === "desktop") await picture(page, "incident");

      await page.locator("#budgets .opener").first().click();
      await page.locator("#tenants .opener").first().click();
      await page.locator("#solves .opener").first().click();
      await until("the course", async () => (await drawn(page, "#budgets .chart canvas")) === 2);
      for (const range of ["1 h", "6 h", "30 d"]) {
        await page.getByText(range, { exact: true }).click();
        await until(`the course over ${range}`, async () => (await drawn(page, "#budgets .chart canvas")) === 2);
      }
      assert.match(await page.locator("#budgets .chart").first().getAttribute("aria-label"), /^Error budget left: from/);
      await page.getByText("The course as a table").click();
      assert.ok((await page.locator("#budgets .plain tbody tr").count()) > 10);
      await picture(page, `incident-open-${theme}-${size}`);
      await assertFits(page);
      assert.deepEqual(await breaches(page), []);
    }));
  }

  test("without an answer it says so, and keeps the last figures greyed", () => visiting(world, {}, async (page) => {
    await untilText(page, "#state", /^Critical/);
    const rows = await page.locator("#tenants .place > table > tbody").count();
    await world.kill();
    await untilText(page, "#state", /^Not known: the sidecar cannot be reached$/);
    assert.match(await text(page, "#updated"), /^refresh failed; figures of .*, \d+ s old$/);
    assert.equal(await page.locator("#tenants .place > table > tbody").count(), rows);
    assert.match(await page.locator("#tenants .place").evaluate((node) => getComputedStyle(node).filter), /grayscale/);
    assert.equal(await page.locator("section:not(.stale)").count(), 0);
    await picture(page, "no-answer");
    assert.deepEqual(await breaches(page), []);
  }, [/ERR_CONNECTION_REFUSED/, /ERR_CONNECTION_RESET/, /ERR_EMPTY_RESPONSE/]));
});

describe("a sidecar with 1,000 tenants", () => {
  let world;
  before(async () => { world = await worlds.crowd(); });
  after(() => world.close());

  test("shows the worst 50 first, then all, sorted and filtered", () => visiting(world, {}, async (page) => {
    const rows = page.locator("#tenants .place > table > tbody");
    await until("50 tenants", async () => (await rows.count()) === 50);
    assert.match(await rows.first().innerText(), /2\s+of 2/);
    await picture(page, "crowd");
    assert.deepEqual(await breaches(page), []);
    await page.getByRole("button", { name: "Show all 1,000 tenants" }).click();
    assert.equal(await rows.count(), 1000);
    await page.getByLabel("Sort by").selectOption("name");
    assert.match(await rows.first().innerText(), /tenant-0000/);
    await page.getByRole("searchbox", { name: "Name" }).fill("0777");
    assert.equal(await rows.count(), 1);
    await page.getByRole("searchbox", { name: "Name" }).fill("nobody");
    assert.equal(await text(page, "#tenants .none"), "No tenant has such a name.");
  }));

  test("fits on a phone", () => visiting(world, { size: "phone" }, async (page) => {
    const rows = page.locator("#tenants .place > table > tbody");
    await until("50 tenants", async () => (await rows.count()) === 50);
    await assertFits(page);
    await picture(page, "crowd-phone");
  }));
});

describe("a sidecar with a token", () => {
  const token = "a-token-for-the-page-0123456789";
  const asked = { await: "#ask[open]" };
  const refused = [/401 \(Unauthorized\)/];
  let world;
  before(async () => { world = await worlds.withToken(token); });
  after(() => world.close());

  for (const theme of ["light", "dark"]) {
    test(`the page asks for it, ${theme}`, () => visiting(world, { ...asked, theme }, async (page) => {
      await page.locator("#token").waitFor();
      assert.equal(await text(page, "#state"), "Waiting for the token");
      assert.equal(await page.evaluate(() => document.activeElement.id), "token");
      await picture(page, `token-${theme}`);
      assert.deepEqual(await breaches(page), []);
    }, refused));
  }

  test("a wrong one is refused, the right one is kept in this tab only", () => visiting(world, asked, async (page) => {
    await page.locator("#token").fill("wrong");
    await page.keyboard.press("Enter");
    await page.getByText("This is not the token.").waitFor();
    await page.locator("#token").fill(token);
    await page.keyboard.press("Enter");
    await untilText(page, "#state", /^All is well/);
    const kept = await page.evaluate(() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]);
    assert.deepEqual(kept, [[token], [], ""]);
    await page.reload();
    await untilText(page, "#state", /^All is well/);
    await page.getByRole("button", { name: "Forget the token" }).click();
    await page.locator("#ask[open]").waitFor();
    assert.deepEqual(await page.evaluate(() => Object.values(sessionStorage)), []);
  }, refused));
});
