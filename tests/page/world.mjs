// The sidecar in front of the simulated provider, as processes on ports of their own, with a day behind them.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BINARY = process.env.SOLVEGATE_BIN;
const ACCOUNT = "simulated0account0key00000000000";
const WAIT_MS = 60_000;

/** What runs; it goes when the tests are stopped, too. */
const children = new Set();
process.on("exit", () => { for (const child of children) child.kill("SIGKILL"); });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

/** Awaits the first true answer of `condition`. */
export async function until(what, condition, wait = WAIT_MS) {
  const deadline = Date.now() + wait;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${wait / 1000} s: ${what}`);
    await new Promise((done) => { setTimeout(done, 50); });
  }
}

/** Starts the binary, and awaits the lines that say where it listens. */
async function start(args, folder, lines) {
  const child = spawn(BINARY, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  child.once("exit", () => children.delete(child));
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => { said += text; });
  }
  const found = await until(`${args[0]} listens`, () => {
    if (child.exitCode !== null) throw new Error(`${args[0]} ended: ${said}`);
    const all = lines.map((line) => said.match(line)?.[1]);
    return all.every(Boolean) && all;
  });
  return { child, found };
}

async function stop(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((done) => { child.once("exit", done); });
  child.kill(signal);
  await ended;
}

export const keyOf = (tenant) => tenant.replace(/[^a-z0-9]/gi, "").padEnd(32, "0").slice(0, 32);

export class World {
  /** `config`: YAML beside listeners, provider, account and record; `history`: rows of `sli`. */
  static async start({ config, history = [], provider = [], token = "" }) {
    const world = new World();
    world.folder = mkdtempSync(join(tmpdir(), "solvegate-page-"));
    try {
      const simulated = ["simulate-provider", "--listen", "127.0.0.1:0", "--time-scale", "40", ...provider];
      const { child, found } = await start(simulated, world.folder, [/listening on (http:\S+)/]);
      world.provider = child;
      world.providerUrl = found[0];
      const admin = token ? `admin: { listen: '127.0.0.1:0', token: ${token} }` : "admin: { listen: '127.0.0.1:0' }";
      writeFileSync(join(world.folder, "solvegate.yaml"), [
        "listen: 127.0.0.1:0",
        admin,
        `upstream: { url: '${found[0]}', poll_spacing: 50ms }`,
        `accounts: { main: { key: ${ACCOUNT} } }`,
        "state: { path: page.db }",
        config,
      ].join("\n"));
      await world.startSidecar();
      if (history.length > 0) {
        await stop(world.sidecar, "SIGTERM");
        world.remember(history);
        await world.startSidecar();
      }
    } catch (error) {
      await world.close();
      throw error;
    }
    return world;
  }

  async startSidecar() {
    const places = [/^listening on (http:\S+)/m, /^admin on (http:\S+)/m];
    const { child, found } = await start(["run", "-c", "solvegate.yaml"], this.folder, places);
    this.sidecar = child;
    [this.url, this.admin] = found;
  }

  /** Writes the minutes of days that nobody waits for into the record. */
  remember(rows) {
    const script = [
      "import json, sqlite3, sys",
      "db = sqlite3.connect('page.db')",
      "db.executemany('INSERT OR REPLACE INTO sli (minute, slo, captcha_type, good, bad) VALUES (?,?,?,?,?)', json.load(sys.stdin))",
      "db.commit()",
    ].join("\n");
    const done = spawnSync("python3", ["-c", script], { cwd: this.folder, input: JSON.stringify(rows), encoding: "utf8" });
    if (done.status !== 0) throw new Error(done.stderr);
  }

  async ask(path, token = "") {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    return (await fetch(`${this.admin}/api/v1/${path}`, { headers })).json();
  }

  control(path, body) {
    return fetch(`${this.providerUrl}/-/${path}`, { method: "POST", body: JSON.stringify(body) });
  }

  /** One solve, as a client asks for it; what it ended with. */
  async solve(tenant, form, { poll = true } = {}) {
    const query = new URLSearchParams({ key: keyOf(tenant), pageurl: "https://shop.test/", ...form });
    const accepted = await (await fetch(`${this.url}/in.php?${query}`)).text();
    if (!accepted.startsWith("OK|") || !poll) return accepted;
    const asked = new URLSearchParams({ key: keyOf(tenant), action: "get", id: accepted.slice(3) });
    return until("an answer", async () => {
      const answer = await (await fetch(`${this.url}/res.php?${asked}`)).text();
      return answer === "CAPCHA_NOT_READY" ? null : answer;
    });
  }

  async kill() {
    await stop(this.sidecar, "SIGKILL");
  }

  async close() {
    for (const child of [this.sidecar, this.provider]) if (child) await stop(child, "SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const forms = {
  turnstile: { method: "turnstile", sitekey: "0x4AAAAAAA" },
  recaptcha_v2: { method: "userrecaptcha", googlekey: "6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-" },
  recaptcha_v3: { method: "userrecaptcha", version: "v3", action: "login", min_score: "0.3", googlekey: "6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-" },
};

/** `solves` at a time few enough for the plan. */
export async function drive(world, jobs, width = 8) {
  const left = [...jobs];
  const answers = [];
  await Promise.all(Array.from({ length: width }, async () => {
    for (let job = left.shift(); job; job = left.shift()) answers.push(await world.solve(...job));
  }));
  return answers;
}

/** A day of minutes: by type the events a minute and the share that fails, by minutes ago. */
export function day(types, days = 1) {
  const now = Math.floor(Date.now() / 60_000);
  const rows = [];
  for (const [type, [events, failing]] of Object.entries(types)) {
    let owed = 0;
    for (let ago = days * 1440; ago > 1; ago -= 1) {
      // By how long ago, not by the hour: what it leads to is the same at any time of day.
      const busy = 1 + 0.6 * Math.sin(ago / 1440 * 2 * Math.PI);
      const all = Math.max(1, Math.round(events * busy * (1 + 0.3 * Math.sin(ago * 1.7))));
      owed += all * failing(ago);
      const bad = Math.min(all, Math.floor(owed));
      owed -= bad;
      rows.push([now - ago, "success", type, all - bad, bad]);
    }
  }
  return rows;
}
