// Headless Chromium, and what holds for every view: no error in the console, no request to elsewhere.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PICTURES = process.env.PAGE_PICTURES;
/** To design without building anew: the folder of the page's files. */
const FILES = process.env.PAGE_FILES;
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };
mkdirSync(PICTURES, { recursive: true });

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});

const sizes = { desktop: { width: 1366, height: 900 }, phone: { width: 360, height: 740 } };

/** Opens the page as somebody in Europe, and gathers what must not happen. */
export async function visit(browser, world, { size = "desktop", theme = "light", await: ready = ".figures div" } = {}) {
  const context = await browser.newContext({
    viewport: sizes[size],
    colorScheme: theme,
    timezoneId: "Europe/Madrid",
    locale: "en-GB",
    reducedMotion: "reduce",
    isMobile: size === "phone",
    hasTouch: size === "phone",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.errors = [];
  page.elsewhere = [];
  page.on("console", (message) => { if (message.type() === "error") page.errors.push(message.text()); });
  page.on("pageerror", (error) => page.errors.push(String(error)));
  page.on("request", (request) => { if (!request.url().startsWith(world.admin)) page.elsewhere.push(request.url()); });
  if (FILES) {
    await page.route((url) => url.pathname === "/" || url.pathname.startsWith("/ui/"), (route) => {
      const path = new URL(route.request().url()).pathname;
      const file = path === "/" ? "index.html" : path.slice("/ui/".length);
      return route.fulfill({ contentType: TYPES[extname(file)], body: readFileSync(join(FILES, file)) });
    });
  }
  await page.goto(world.admin);
  if (ready) await page.locator(ready).first().waitFor();
  return page;
}

export async function picture(page, name) {
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true });
}

/** Ends a visit: nothing went wrong in the browser, and it asked nobody but the sidecar. */
export async function leave(page, allowed = []) {
  const errors = page.errors.filter((text) => !allowed.some((pattern) => pattern.test(text)));
  await page.context().close();
  assert.deepEqual(errors, []);
  assert.deepEqual(page.elsewhere, []);
}

/** Breaches of the rules for accessible pages, as axe finds them; by id, with the elements. */
export async function breaches(page) {
  // `evaluate` runs beside the page's own policy, which lets no other script in.
  await page.evaluate(AXE);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const found = await page.evaluate((values) => globalThis.axe.run(document, { runOnly: values }), tags);
  return found.violations.map((rule) => `${rule.impact} ${rule.id}: ${rule.nodes.slice(0, 3).map((node) => `${node.target} ${node.any[0]?.message ?? ""}`).join(" | ")}`);
}

/** Whether anything was drawn on every canvas under `selector`: their number, or 0. */
export function drawn(page, selector) {
  return page.locator(selector).evaluateAll((canvases) => {
    const isFull = (canvas) => {
      if (!canvas.width || !canvas.height) return false;
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.some((value) => value !== 0);
    };
    return canvases.every(isFull) ? canvases.length : 0;
  });
}

/** The page never scrolls sideways. */
export async function assertFits(page) {
  // Not `innerWidth`: on a phone it grows with the page.
  const outside = page.viewportSize().width;
  const inside = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(inside <= outside, `${inside} px of page in ${outside} px of window`);
}
