#!/usr/bin/env python3
"""A simulated month with scripted incidents: what the alerts say, and whether they say it in time.

usage: month.py GENERATOR FOLDER [--quick] [--rules DIR] [--window HOURS]... [--objective O]... [--normal SHARE]...
"""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from alerts import all_firings
from rules import Rules, with_matchers
from server import DAY, START, Server, generate, write_back

ROOT = Path(__file__).resolve().parent.parent.parent
BUSY, MIDDLING, QUIET = "recaptcha_v2", "turnstile", "geetest_v4"
PEAK_PER_HOUR = {BUSY: 600, MIDDLING: 60, QUIET: 2}
PAGE_WITHIN = 300
# What fires this long after an incident's end still speaks of it: the longest of the short windows.
AFTER = 6 * 3600
# What spends that share of an error budget must be noticed; the slow tiers promise as much.
NOTICED_FROM = 0.1
# Compares two counts over windows of up to 30 days: replay.py does, where it costs less.
LEFT_OUT = {"SolvegateAccountingDrift"}


@dataclass(frozen=True)
class Incident:
    name: str
    types: tuple
    begin: float  # hours
    end: float
    bad_share: object = None  # share of failures, or its multiple of the error budget as "2x"
    more: tuple = ()  # further fields of the generator's incident
    is_false_friend: bool = False

    def script(self, objective):
        share = self.bad_share
        if isinstance(share, str):
            share = float(share[:-1]) * (1 - objective)
        for captcha_type in self.types:
            yield {
                "captcha_type": captcha_type,
                "from_hour": self.begin,
                "to_hour": self.end,
                "bad_share": share,
                **dict(self.more),
            }


OFFSET = 190 / 3600  # incidents do not begin on the full minute


def incidents(quick):
    """The month's script. The quick one has three days."""
    days = dict(outage=1, night=1, partial=None, slow=None, quiet=0, single=2, client=2)
    if not quick:
        days = dict(outage=5, night=7, partial=9, slow=13, quiet=20, single=24, client=26)

    def hour(day, at):
        return days[day] * 24 + at + OFFSET

    def script():
        yield Incident("hard outage 10 min", (BUSY, MIDDLING, QUIET), hour("outage", 14), hour("outage", 14 + 1 / 6), 1)
        yield Incident("hard outage at night", (BUSY, MIDDLING, QUIET), hour("night", 2), hour("night", 2 + 1 / 6), 1)
        if not quick:
            yield Incident("20 % errors for 6 h", (BUSY, MIDDLING), hour("partial", 10), hour("partial", 16), 0.2)
            yield Incident("2x burn for 3 days", (BUSY, MIDDLING), hour("slow", 0), hour("slow", 72), "2x")
        yield Incident("quiet type fails wholly", (QUIET,), hour("quiet", 8), hour("quiet", 20), 1)
        lone = (("traffic", 0), ("failures", 1))
        yield Incident("one failure at night", (QUIET,), hour("single", 2), hour("single", 3), None, lone, True)
        errors = (("client_errors_per_hour", 3000),)
        yield Incident("client errors", (BUSY,), hour("client", 15), hour("client", 15.2), None, errors, True)

    return list(script())


def jobs(options, script):
    for window in options.window:
        for normal in options.normal:
            for objective in options.objective:
                share = normal * (1 - objective)
                yield {
                    "name": f"w{window}h-n{normal * 100:.0f}-o{objective * 100:.0f}",
                    # The same luck for each window, so that only the windows differ.
                    "seed": round(objective * 1000) * 1000 + round(normal * 100),
                    "days": options.days,
                    "objective": objective,
                    "types": [
                        {
                            "captcha_type": captcha_type,
                            "window_hours": window,
                            "peak_per_hour": peak,
                            "bad_share": share,
                        }
                        for captcha_type, peak in PEAK_PER_HOUR.items()
                    ],
                    "incidents": [line for incident in script for line in incident.script(objective)],
                }


def of_incident(firing, incident):
    begin, end = START + incident.begin * 3600, START + incident.end * 3600
    return firing.captcha_type in incident.types and begin <= firing.fired <= end + AFTER


def minutes(span):
    span /= 60
    return f"{span:.0f} min" if abs(span) < 120 else f"{span / 60:.1f} h"


def spent(incident, job):
    """The share of the error budget of one window that an incident spends."""
    share = max(line["bad_share"] or 0 for line in incident.script(job["objective"]))
    hours = incident.end - incident.begin
    return share / (1 - job["objective"]) * hours / job["types"][0]["window_hours"]


def first(firings, begin):
    """What fired first, and when."""
    if not firings:
        return "-"
    return f"{firings[0].alert.removeprefix('Solvegate')} {minutes(firings[0].fired - begin)}"


class Verdict:
    def __init__(self):
        self.passed, self.failures = 0, []

    def check(self, holds, what):
        if holds:
            self.passed += 1
        else:
            self.failures.append(what)


def judge(job, script, fired, verdict):
    """Prints the rows of one job, and checks the aims."""
    name = job["name"]
    for incident in script:
        begin, end = START + incident.begin * 3600, START + incident.end * 3600
        own = [firing for firing in fired if of_incident(firing, incident)]
        pages = [firing for firing in own if firing.severity == "critical"]
        tickets = [firing for firing in own if firing.severity == "warning"]
        reset = minutes(max(firing.resolved for firing in pages) - end) if pages else "-"
        tickets_reset = minutes(max(firing.resolved for firing in tickets) - end) if tickets else "-"
        print(f"| {name} | {incident.name} | {first(pages, begin)} | {reset} | {first(tickets, begin)} | {tickets_reset} |")
        if incident.name == "hard outage 10 min":
            in_time = any(page.fired - begin <= PAGE_WITHIN for page in pages)
            verdict.check(in_time, f"{name}: {incident.name}: not paged within 5 min but {first(pages, begin)}")
        elif incident.name == "quiet type fails wholly":
            ticketed = any(ticket.alert == "SolvegateAllSolvesFailing" and ticket.fired <= end for ticket in tickets)
            verdict.check(ticketed, f"{name}: {incident.name}: no ticket")
        elif incident.is_false_friend:
            verdict.check(not own, f"{name}: {incident.name}: {first(own, begin)}")
        elif spent(incident, job) >= NOTICED_FROM:
            verdict.check(pages or tickets, f"{name}: {incident.name}: not noticed")
    stray = [firing for firing in fired if not any(of_incident(firing, incident) for incident in script)]
    pages = [firing for firing in stray if firing.severity == "critical"]
    burns = [firing for firing in stray if firing.severity == "warning" and "BudgetBurn" in firing.alert]
    others = [firing for firing in stray if firing not in pages and firing not in burns]
    types = {captcha_type: sum(page.captcha_type == captcha_type for page in pages) for captcha_type in PEAK_PER_HOUR}
    print(f"| {name} | **false** | {len(pages)} pages {list(types.values())} | | {len(burns)} burn, {len(others)} other | |")
    for (alert, captcha_type), count in Counter((f.alert, f.captcha_type) for f in stray).items():
        print(f"| | {count} x {alert.removeprefix('Solvegate')} {captcha_type} | | | | |")
    verdict.check(not pages, f"{name}: {len(pages)} false pages")


def record(pool, server, rules, todo, alerts, end, folder):
    """Writes back what the recording rules count; the rest of them is cheap enough to be asked for with the alerts.

    Jobs that differ in their SLO window alone have the same events, so one of them is asked for.
    """
    names = rules.counts(alerts)
    alike = {}
    for job in todo:
        alike.setdefault(job["seed"], []).append(job["name"])

    def one(name, job):
        return name, server.over(with_matchers(rules.recorded[name], f'job="{job}"'), START, end, 60)

    for jobs_alike in alike.values():
        for name, series in pool.map(lambda name, job=jobs_alike[0]: one(name, job), names):
            for job in jobs_alike:
                own = {tuple((k, job if k == "job" else v) for k, v in labels): values for labels, values in series.items()}
                write_back(name, own, folder / job)
    rules.stored = set(names)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("generator", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rules", type=Path, default=ROOT / "rules")
    parser.add_argument("--window", type=int, action="append")
    parser.add_argument("--objective", type=float, action="append")
    parser.add_argument("--normal", type=float, action="append")
    options = parser.parse_args()
    options.days = 3 if options.quick else 30
    options.window = options.window or ([24] if options.quick else [24, 720])
    options.objective = options.objective or ([0.9] if options.quick else [0.99, 0.95, 0.9])
    options.normal = options.normal or [0.5]

    script, rules, verdict = incidents(options.quick), Rules(options.rules), Verdict()
    todo = list(jobs(options, script))
    began = time.monotonic()
    generate(options.generator, todo, options.folder)
    generated = time.monotonic()
    names = [name for name in rules.alerts if name not in LEFT_OUT]
    end = START + options.days * DAY
    with ThreadPoolExecutor(2) as pool:
        with Server(options.folder) as server:
            loaded = time.monotonic()
            record(pool, server, rules, todo, names, end, options.folder)
        with Server(options.folder) as server:
            recorded = time.monotonic()
            results = list(pool.map(lambda job: all_firings(server, rules, job["name"], names, START, end), todo))
    print("| job (window, usual errors in % of the budget, objective) | incident | page, after | reset, after the end | ticket, after | reset |")
    print("| --- | --- | --- | --- | --- | --- |")
    for job, fired in zip(todo, results):
        judge(job, script, fired, verdict)
    times = [began, generated, loaded, recorded, time.monotonic()]
    took = [round(b - a) for a, b in zip(times, times[1:])]
    print(f"\nmonth: {options.days} days, {len(todo)} jobs; seconds to generate, load, record, ask: {took}")
    for failure in verdict.failures:
        print(f"FAILED {failure}")
    word = "FAILED" if verdict.failures else "ok"
    print(f"test result: {word}. {verdict.passed} passed; {len(verdict.failures)} failed; month")
    return 1 if verdict.failures else 0


if __name__ == "__main__":
    sys.exit(main())
