"""The dashboard's queries, as Grafana would ask them with everything selected."""

import json
import math
import re
from dataclasses import dataclass

import yaml

from processes import QueryError
from setting import DASHBOARD, RULES

# `All` of every variable is a regular expression that matches what is there.
ALL = ".+"
STEP = 1  # second; Grafana's $__interval
RATE_INTERVAL = "5s"  # Grafana takes four scrapes at least; on a slow machine no solve may end in 2 s


@dataclass(frozen=True)
class Target:
    panel: str
    ref: str
    text: str

    @property
    def place(self):
        return f"{self.panel} / {self.ref}"


def dashboard():
    return json.loads(DASHBOARD.read_text())


def panels(board):
    """Every panel that is no row, those in rows included."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panels({"panels": panel.get("panels", [])})
        else:
            yield panel


def targets(board):
    """Every query of every panel, and of every annotation."""
    found = [
        Target(panel["title"], target["refId"], target["expr"])
        for panel in panels(board)
        for target in panel.get("targets", [])
    ]
    for annotation in board.get("annotations", {}).get("list", []):
        if annotation.get("expr"):
            found.append(Target("annotation", annotation["name"], annotation["expr"]))
    return found


def variables(board):
    """Queries of the template variables, by name."""
    found = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            query = variable["query"]
            found[variable["name"]] = query["query"] if isinstance(query, dict) else query
    return found


def filled(text, board, seconds):
    """The query with each variable replaced; one that is not known is a mistake."""
    known = {
        "__rate_interval": RATE_INTERVAL,
        "__interval": f"{STEP}s",
        "__range": f"{seconds}s",
        "__range_s": str(seconds),
        **{name: ALL for name in variables(board)},
    }

    def replace(found):
        name = found[1] or found[2]
        if name not in known:
            raise QueryError(f"no variable ${name}: {text}")
        return known[name]

    return re.sub(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))", replace, text)


def values(prometheus, query, board):
    """What Grafana offers for a variable: `label_values(selector, label)` or `label_values(label)`."""
    found = re.fullmatch(r"label_values\((?:(.+),\s*)?(\w+)\)", query.strip())
    if not found:
        raise QueryError(f"not understood: {query}")
    selector, label = found.groups()
    fields = {"match[]": filled(selector, board, 60)} if selector else {}
    return prometheus.get(f"label/{label}/values", **fields)


@dataclass
class Findings:
    """What is to say about a dashboard's targets at one moment; each is called by its place."""

    wrong: dict  # refused by Prometheus
    nonsense: dict  # NaN or infinite, now or at any time
    empty: set  # nothing now
    never: set  # nothing at any time


def look(prometheus, board, start, end):
    """Evaluates each target as instant query, and as range query over the time from `start` to `end`."""
    findings = Findings({}, {}, set(), set())
    for target in targets(board):
        try:
            text = filled(target.text, board, max(1, round(end - start)))
            now = prometheus.query(text, end)
            ever = prometheus.query_range(text, start, end, STEP)
        except QueryError as error:
            findings.wrong[target.place] = str(error)
            continue
        if not now:
            findings.empty.add(target.place)
        if not ever:
            findings.never.add(target.place)
        for labels, points in [*now, *ever]:
            for at, value in points:
                if not math.isfinite(value):
                    findings.nonsense[target.place] = f"{value} after {at - start:.1f} s: {labels}"
    return findings


def names(texts):
    """Metrics that queries name: the sidecar's own, and those that a rule records."""
    texts = [re.sub(r'"[^"]*"', '""', text) for text in texts]
    own = {name for text in texts for name in re.findall(r"(?<![:\w])(?:solvegate|process)_\w+(?![:\w])", text)}
    recorded = {name for text in texts for name in re.findall(r"\b[a-z_]+:solvegate_[\w:]+", text)}
    return own, recorded


def rule_texts():
    rules = [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    return [rule["expr"] for rule in rules] + [rule["record"] for rule in rules if "record" in rule]
