#!/usr/bin/env python3
"""Breaks every rule in small ways; for each way at least one unit test must fail.

An alert never fires; a clause of `and`, `or`, `unless` is dropped; a comparison is loosened or tightened; `for` or
`keep_firing_for` is dropped; a range is halved or doubled. Recording rules are dropped and broken likewise.
Each mutant runs against only the checks that depend on it, with only the rules that these need.

usage: mutate.py [--jobs N] [--list] [RULE...]
"""

import argparse
import copy
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
RULES = HERE.parent.parent / "rules"
NAME = re.compile(r"\b[a-z_]+:[a-zA-Z0-9_]+(?::[a-zA-Z0-9_]+)?")
ALERT_OF = re.compile(r'ALERTS\{alertname="(\w+)"')

# Mutants that no test can tell from the rule, each with the reason.
ALLOWED = {}


# === mutations of an expression


def spans(expr):
    """(depth, in braces) of each character; quotes count as braces."""
    depth, closing, marks = 0, "", []
    for char in expr:
        if closing:
            marks.append((depth, True))
            if char == closing:
                closing = ""
            continue
        if char in "{[\"'":
            closing = {"{": "}", "[": "]"}.get(char, char)
            marks.append((depth, True))
            continue
        if char == "(":
            depth += 1
        marks.append((depth, False))
        if char == ")":
            depth -= 1
    return marks


def without_clauses(expr):
    """Drops one side of each set operator."""
    marks = spans(expr)
    operators = [
        (found.start(), found.end(), found.group(1))
        for found in re.finditer(r"\b(and|or|unless)\b(\s+(on|ignoring)\s*\([^)]*\))?", expr)
        if not marks[found.start()][1]
    ]
    for start, end, operator in operators:
        depth = marks[start][0]
        left = start
        while left > 0 and marks[left - 1][0] >= depth:
            if marks[left - 1][0] == depth and expr[left - 1] == "(" and not marks[left - 1][1]:
                break
            left -= 1
        right = end
        while right < len(expr) and marks[right][0] >= depth:
            if marks[right][0] == depth and expr[right] == ")" and not marks[right][1]:
                break
            right += 1
        others = [other for other in operators if marks[other[0]][0] == depth and left <= other[0] < right]
        after = min((other[0] for other in others if other[0] > start), default=right)
        before = max((other[1] for other in others if other[1] < start), default=left)
        yield f"without `{squeeze(expr[start:after])}`", expr[:start] + expr[after:]
        if operator != "unless":
            yield f"without `{squeeze(expr[before:end])}`", expr[:before] + expr[end:]


def with_other_thresholds(expr):
    """Halves and doubles what is compared with; shifts comparisons with zero by their edge."""
    marks = spans(expr)
    for found in re.finditer(r"(>=|<=|==|!=|>|<)(\s*(?:on|ignoring)\s*\([^)]*\))?\s*", expr):
        if marks[found.start()][1]:
            continue
        rest = expr[found.end():]
        where = squeeze(expr[found.start():found.start() + 60])
        if re.match(r"0(?![.\d])", rest):
            edge = {">": ">=", "<": "<=", ">=": ">", "<=": "<", "==": ">="}[found.group(1)]
            yield f"`{edge}` in `{where}`", expr[:found.start()] + edge + expr[found.start() + len(found.group(1)):]
            continue
        for factor in ("0.5", "2"):
            yield f"{factor} * in `{where}`", expr[:found.end()] + f"{factor} * " + rest


def with_other_ranges(expr):
    """Halves and doubles each range and offset."""
    for found in re.finditer(r"(\[|offset )(\d+)([mhd])", expr):
        minutes = int(found.group(2)) * {"m": 1, "h": 60, "d": 1440}[found.group(3)]
        for length in (minutes * 30, minutes * 120):
            yield (
                f"{length}s for `{found.group(2)}{found.group(3)}` at {found.start()}",
                expr[:found.start()] + found.group(1) + f"{length}s" + expr[found.end():],
            )


def squeeze(text):
    return " ".join(text.split())


def mutants(rule):
    """Names and broken copies of a rule; the first is the rule itself."""
    yield "unchanged", rule
    yield "never", {**rule, "expr": "vector(1) < 0"}
    for what, expr in (
        *without_clauses(rule["expr"]),
        *with_other_thresholds(rule["expr"]),
        *with_other_ranges(rule["expr"]),
    ):
        yield what, {**rule, "expr": expr}
    for wait in ("for", "keep_firing_for"):
        if wait in rule:
            yield f"without {wait}", {key: value for key, value in rule.items() if key != wait}


# === what a rule is needed for


def name_of(rule):
    return rule.get("alert") or rule["record"]


def minutes(duration):
    return sum(int(n) * {"m": 1, "h": 60, "d": 1440}[unit] for n, unit in re.findall(r"(\d+)([mhd])", duration))


def cost(test):
    """How many evaluations a case takes."""
    case = test["tests"][0]
    times = [check["eval_time"] for kind in ("alert_rule_test", "promql_expr_test") for check in case.get(kind, [])]
    return max(map(minutes, times)) / minutes(test["evaluation_interval"])


class Suite:
    """The shipped rules and their tests."""

    def __init__(self):
        self.files = {path.name: yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))}
        self.tests = {path.name: yaml.safe_load(path.read_text()) for path in sorted(HERE.glob("*.yml"))}
        self.rules = {
            name_of(rule): rule
            for file in self.files.values() for group in file["groups"] for rule in group["rules"]
        }

    def needs(self, expr, seen=None):
        """The rules that an expression reads, directly or not."""
        seen = set() if seen is None else seen
        for name in set(NAME.findall(expr)) | set(ALERT_OF.findall(expr)):
            if name in self.rules and name not in seen:
                seen.add(name)
                self.needs(self.rules[name]["expr"], seen)
        return seen

    def checks_of(self, rule):
        """The cases that depend on the rule, with only the checks that do, cheapest first; and the rules they need."""
        kept, needed = [], {rule}
        for test in self.tests.values():
            for case in test["tests"]:
                case = dict(case)
                for kind, expr_of in (
                    ("alert_rule_test", lambda check: f'ALERTS{{alertname="{check["alertname"]}"'),
                    ("promql_expr_test", lambda check: check["expr"]),
                ):
                    checks = [(check, self.needs(expr_of(check))) for check in case.pop(kind, [])]
                    checks = [(check, needs) for check, needs in checks if rule in needs]
                    if "alert" not in self.rules[rule]:
                        # A recording rule has tests of its own values; alerts are too slow a way to tell.
                        direct = [one for one in checks if rule in NAME.findall(expr_of(one[0]))]
                        checks = direct or checks
                    if checks:
                        case[kind] = [check for check, _ in checks]
                        needed.update(*(needs for _, needs in checks))
                if "alert_rule_test" in case or "promql_expr_test" in case:
                    kept.append({**test, "tests": [case]})
        return sorted(kept, key=cost), needed

    def outcome(self, rule, broken, checks, needed):
        """What the tests say of a broken rule: killed, survived or invalid."""
        folder = Path(tempfile.mkdtemp(prefix="mutant-"))
        try:
            for name, file in self.files.items():
                file = copy.deepcopy(file)
                for group in file["groups"]:
                    group["rules"] = [
                        broken if name_of(one) == rule else one for one in group["rules"] if name_of(one) in needed
                    ]
                (folder / name).write_text(yaml.safe_dump(file))
            path = folder / "test.yml"
            for test in checks:
                files = [str(folder / Path(file).name) for file in test["rule_files"]]
                path.write_text(yaml.safe_dump({**test, "rule_files": files}))
                run = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
                output = run.stdout + run.stderr
                if run.returncode:
                    return "killed" if "exp" in output and "parse error" not in output else f"invalid: {output}"
            return "survived"
        finally:
            shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("rules", nargs="*", metavar="RULE", help="only these alerts and records")
    arguments = parser.parse_args()

    suite = Suite()
    tasks = []
    for name, rule in suite.rules.items():
        if arguments.rules and name not in arguments.rules:
            continue
        checks, needed = suite.checks_of(name)
        for what, broken in mutants(rule):
            tasks.append((name, what, broken, checks, needed))
    if arguments.list:
        for name, what, *_ in tasks:
            print(f"{name}: {what}")
        return 0

    with ThreadPoolExecutor(arguments.jobs) as pool:
        outcomes = pool.map(lambda task: suite.outcome(task[0], task[2], task[3], task[4]), tasks)
        return report(tasks, outcomes)


def report(tasks, outcomes):
    killed, faults = 0, []
    for (name, what, *_), outcome in zip(tasks, outcomes):
        label = f"{name}: {what}"
        if what == "unchanged":
            if outcome != "survived":
                faults.append(f"{label}: the tests fail without any change: {outcome}")
                print(f"FAILED: {faults[-1]}", flush=True)
        elif outcome == "killed" and label not in ALLOWED:
            killed += 1
        elif outcome == "killed":
            faults.append(f"{label}: listed in ALLOWED, but a test fails: take it off the list")
            print(f"FAILED: {faults[-1]}", flush=True)
        elif outcome == "survived" and label in ALLOWED:
            print(f"allowed: {label} ({ALLOWED[label]})")
        else:
            faults.append(f"{label}: {outcome}")
            print(f"FAILED: {faults[-1]}", flush=True)
    print(f"mutants: {killed} passed; {len(faults)} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
