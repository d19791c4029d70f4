#!/usr/bin/env python3
"""One stream of events, three counts of its error budget: Prometheus, the sidecar, a recount of the list of events.

usage: replay.py GENERATOR FOLDER [--quick]

What is compared is the share of the error budget that is left. A count over a window is only as sharp as the window's
edges: a scrape is up to 30 s old, a recording one interval, and the sidecar's window up to 0.1 % longer than it says.
So a count may differ from the recount by 0.01 (1 % of the error budget) beyond what the recounts say with each edge
moved that far. The plain differences are printed too.
"""

import argparse
import bisect
import itertools
import sys
import time
from pathlib import Path

from rules import Rules, seconds
from server import DAY, START, Server, generate

ROOT = Path(__file__).resolve().parent.parent.parent
TOLERANCE = 0.01
PLAIN = 0.01
PLAIN_SHARE = 0.98  # of the instants; at the rest a burst just crosses an edge
OBJECTIVE = 0.95
STEP = 600
MIN_EVENTS = 50
AGE = 30  # of a scrape
BLUR = 30  # of a restored event, known from its minute
SLOT = 0.001  # of the sidecar's window
WINDOWS = {"recaptcha_v2": ("1d", 600), "turnstile": ("3d", 300), "geetest_v4": ("7d", 120), "hcaptcha": ("30d", 60)}
PROMETHEUS = "captcha_type:solvegate_slo_error_budget_remaining:ratio"
LEDGER = "captcha_type:solvegate_slo_error_budget_remaining:ratio_ledger"


def job(days, types):
    """A stream with bursts, gaps, bad hours, restarts and a stretch that nobody scrapes."""

    def change(day, hours, **fields):
        return [
            {"captcha_type": name, "from_hour": day * 24 + 13.3, "to_hour": day * 24 + 13.3 + hours, **fields}
            for name in types
        ]

    incidents = []
    for week in range(0, days, 7):
        incidents += change(week + 1, 0.05, traffic=20)
        incidents += change(week + 2, 9, traffic=0)
        incidents += change(week + 3, 0.5, bad_share=0.5)
        incidents += change(week + 4, 0.1, traffic=8, bad_share=0.3)
        incidents += change(week + 6, 30, traffic=0.02)
    # 10 s past a full minute: the next process is up before the next scrape.
    restarts = [day * 24 + 15 + 10 / 3600 for day in range(2, days, 5)]
    return {
        "name": "replay",
        "seed": 7,
        "days": days,
        "objective": OBJECTIVE,
        "types": [
            {
                "captcha_type": name,
                "window_hours": seconds(window) // 3600,
                "peak_per_hour": peak,
                "bad_share": 0.03,
            }
            for name, (window, peak) in types.items()
        ],
        "incidents": incidents,
        "restarts": restarts,
        "unscraped": [[5 * 24 + 16, 5 * 24 + 16 + 4 / 60]],
        "list_events": True,
    }


class Recount:
    """The events of one type, to be counted between any two instants."""

    def __init__(self, events):
        self.times = [at for at, _ in events]
        self.bad = [0, *itertools.accumulate(bad for _, bad in events)]

    def left(self, after, until):
        """The share of the error budget left by the events after one instant, until another; and their number."""
        first, last = bisect.bisect_right(self.times, after), bisect.bisect_right(self.times, until)
        events = last - first
        bad = self.bad[last] - self.bad[first]
        return (1 - bad / events / (1 - OBJECTIVE) if events else 1), events


def spread(least, most):
    """Instants between two, close enough that few events happen from one to the next."""
    steps = max(4, min(60, round((most - least) / 10)))
    return [least + (most - least) * step / steps for step in range(steps + 1)]


def compare(name, values, recount, window, edges):
    """Holds one count against the recount: plain differences, and what goes beyond the window's edges."""
    longer, older = edges
    plain, beyond = [], []
    for at, value in values.items():
        exact, events = recount.left(at - window, at)
        if events < MIN_EVENTS:
            continue
        possible = [
            recount.left(at - window - before, at - after)[0]
            for before in spread(-AGE - BLUR, longer)
            for after in spread(0, older)
        ]
        plain.append(abs(value - exact))
        beyond.append(max(min(possible) - value, value - max(possible), 0))
    plain.sort()
    share = sum(difference <= PLAIN for difference in plain) / len(plain)
    print(
        f"| {name} | {len(plain)} | {plain[len(plain) // 2]:.5f} | {plain[-1]:.5f} | {share:.2%} | {max(beyond):.5f} |"
    )
    return len(plain), max(beyond), share


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("generator", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rules", type=Path, default=ROOT / "rules")
    options = parser.parse_args()
    days = 8 if options.quick else 35
    types = {name: of for name, of in WINDOWS.items() if seconds(of[0]) < days * DAY}

    began = time.monotonic()
    rules, played = Rules(options.rules), job(days, types)
    generate(options.generator, [played], options.folder)
    events = {name: [] for name in types}
    for line in (options.folder / "replay" / "events.csv").read_text().splitlines():
        at, name, bad = line.split(",")
        events[name].append((int(at) / 1000, int(bad)))

    passed, failures = 0, []
    # The first hours hold few events, and whatever is wrong then is not of the windows' doing.
    start, end = START + DAY // 4, START + days * DAY
    with Server(options.folder) as server:
        counts = {
            count: server.over(rules.expanded(count, 'job="replay"'), start, end, STEP) for count in (PROMETHEUS, LEDGER)
        }
    print("| window, count | instants | median difference | largest | within 0.01 | largest beyond the edges |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (window, _) in types.items():
        recount, length = Recount(events[name]), seconds(window)
        for count, edges in [(PROMETHEUS, (AGE, AGE)), (LEDGER, (length * SLOT + BLUR + AGE, AGE))]:
            values = next(values for labels, values in counts[count].items() if dict(labels)["captcha_type"] == name)
            label = f"{window} {'Prometheus' if count == PROMETHEUS else 'sidecar'}"
            instants, beyond, share = compare(label, values, recount, length, edges)
            if instants > (days - 2) * DAY / STEP * 0.5 and beyond <= TOLERANCE and share >= PLAIN_SHARE:
                passed += 1
            else:
                failures.append(f"{label}: {instants} instants, {beyond:.5f} beyond the edges, {share:.2%} within 0.01")
    print(f"\nreplay: {days} days, {sum(map(len, events.values()))} events, {time.monotonic() - began:.0f} s")
    for failure in failures:
        print(f"FAILED {failure}")
    word = "FAILED" if failures else "ok"
    print(f"test result: {word}. {passed} passed; {len(failures)} failed; replay")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
