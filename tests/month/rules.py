"""The rules as shipped, made to be asked for over a range: recorded names are replaced by what they record.

A recorded value is what its expression says at that minute, so an alert that is asked for in terms of the expressions
sees what it sees in terms of the names, had both been evaluated at the same instant. That they are not is added by
alerts.py. Names whose values were written back stay (`stored`).
"""

import re
from pathlib import Path

import yaml

RECORDED = re.compile(r"([a-z_]+:[a-z_]+:[a-z0-9_]+)(\{[^}]*\})?")
SERIES = re.compile(r"(?<![:\w])((?:\w+:)*solvegate_\w+(?::\w+)*)(?:\{([^}]*)\})?")


class Rules:
    def __init__(self, folder: Path):
        groups = [
            group
            for name in ("slo_recording.yml", "slo_alerts.yml")
            for group in yaml.safe_load((folder / name).read_text())["groups"]
        ]
        rules = [rule for group in groups for rule in group["rules"]]
        self.recorded = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
        self.alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
        self.stored = set()

    def counts(self, alerts):
        """The recorded names, among those that the alerts need, that count over a range."""
        needed, todo = set(), [self.alerts[name]["expr"] for name in alerts]
        while todo:
            names = {found[1] for found in RECORDED.finditer(todo.pop())} - needed
            needed |= names
            todo += [self.recorded[name] for name in names]
        return sorted(name for name in needed if re.search(r"\[\w+\]", self.recorded[name]))

    def expanded(self, expr: str, matchers: str = "") -> str:
        """The expression in exported metrics only, each of them with these matchers added."""

        def replace(found):
            if found[1] in self.stored:
                return found[0]
            own = (found[2] or "{}")[1:-1]
            inner = self.recorded[found[1]]
            for label in re.findall(r"(\w+)=", own):
                # Where to put a matcher is only clear where the label is kept all the way.
                kept = re.findall(r"by \(([^)]*)\)", inner)
                assert kept and all(label in group.split(", ") for group in kept), (found[0], inner)
            return f"({with_matchers(self.expanded(inner), own)})"

        return with_matchers(RECORDED.sub(replace, expr), matchers)


def with_matchers(expr: str, matchers: str) -> str:
    if not matchers:
        return expr
    return SERIES.sub(lambda found: f"{found[1]}{{{', '.join(filter(None, [found[2], matchers]))}}}", expr)


def seconds(duration: str) -> int:
    """Seconds of `30m`, `1h`, `1d`."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[duration[-1]]
