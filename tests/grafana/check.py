#!/usr/bin/env python3
"""Checks grafana/: the dashboard by the rules of dashboard-linter and some of our own, and the provisioning files.

usage: check.py [--format]    --format: lay the dashboard's JSON out anew

Each check is also run on dashboards that were broken for it in memory (breakages.py), and must notice.
"""

import copy
import json
import re
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import promql_parser as promql
import yaml

from breakages import BREAKAGES

ROOT = Path(__file__).resolve().parent.parent.parent
DASHBOARD = ROOT / "grafana" / "dashboards" / "solvegate.json"
RUNBOOKS = ROOT / "docs" / "runbooks"

RULES = [
    rule
    for path in sorted((ROOT / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RUNBOOK_BASES = {rule["annotations"]["runbook_url"].rsplit("/", 1)[0] for rule in ALERTS.values()}

# What the sidecar's source registers, histograms under their three names.
CATALOGUE = {
    name + suffix
    for path in (ROOT / "src" / "record" / "metrics").glob("*.rs")
    for name in re.findall(r'"(solvegate_\w+)"', path.read_text())
    for suffix in ("", "_bucket", "_sum", "_count")
}
# The labels of a metric, by README's table.
LABELS = {
    name: set(re.findall(r"`(\w+)`", labels))
    for name, labels in re.findall(r"^\| `(solvegate_\w+)` \| ([^|]*)\|", (ROOT / "README.md").read_text(), re.MULTILINE)
}
ALERT_SERIES = {"ALERTS", "ALERTS_FOR_STATE"}
# Of Prometheus, and of every process that exports metrics: these must be joined with solvegate_build_info.
FOREIGN = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"}

ROWS = ["Overview", "SLOs and firing alerts", "Error budget", "Tenants and cost", "Provider", "Sidecar"]
UNITS = {"none", "short", "locale", "percentunit", "s", "h", "reqps", "bytes", "currencyUSD", "dateTimeFromNow"}
STATUS_COLOURS = {"healthy": "green", "warning": "yellow", "critical": "orange", "exhausted": "red"}
VARIABLES = {"job": "Job", "instance": "Instance", "captcha_type": "Captcha type", "tenant": "Tenant"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Lengths that no query has by itself.
RATE_INTERVAL, RANGE = timedelta(seconds=217), timedelta(seconds=3511)


def layout(value, indent=0):
    """The one way in which the dashboard is written: what fits on a line stands on one."""
    flat = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, (dict, list)) or indent + len(flat) <= 180:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        items, (left, right) = [f"{pad}{json.dumps(key)}: {layout(item, indent + 2)}" for key, item in value.items()], "{}"
    else:
        items, (left, right) = [pad + layout(item, indent + 2) for item in value], "[]"
    return left + "\n" + ",\n".join(items) + "\n" + " " * indent + right


# === reading the dashboard


def panels_of(dash):
    return [panel for panel in dash["panels"] if panel["type"] != "row"]


def variables_of(dash):
    return {variable["name"]: variable for variable in dash["templating"]["list"]}


def expressions(dash):
    """Where a query stands, and the query."""
    for panel in panels_of(dash):
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in dash["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"]


def parse(expr):
    expr = expr.replace("$__rate_interval", f"{int(RATE_INTERVAL.total_seconds())}s")
    return promql.parse(expr.replace("$__range", f"{int(RANGE.total_seconds())}s"))


def walk(node, parents=()):
    """Each node of a query with those above it, the nearest last."""
    yield node, parents
    below = []
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None and not isinstance(child, (str, int, float)):
            below.append(child)
    below += getattr(node, "args", [])
    for child in below:
        yield from walk(child, (*parents, node))


def nodes(dash):
    for where, expr in expressions(dash):
        try:
            tree = parse(expr)
        except ValueError:
            continue  # another check says so
        yield from ((where, node, parents) for node, parents in walk(tree))


def selectors(dash):
    for where, node, parents in nodes(dash):
        if isinstance(node, promql.VectorSelector):
            yield where, node, parents


def matchers(selector):
    return {matcher.name: (matcher.op, matcher.value) for matcher in selector.matchers.matchers}


def called(parents):
    """The function around a range selector."""
    return parents[-1].func.name if parents and isinstance(parents[-1], promql.Call) else None


def properties(panel):
    for override in panel["fieldConfig"]["overrides"]:
        yield from ((override["matcher"], each["id"], each["value"]) for each in override["properties"])


# === checks: each yields what is wrong with a dashboard


def it_opens_as_it_is(dash):
    wanted = {"uid": "solvegate", "title": "Solvegate", "editable": False, "refresh": "30s", "graphTooltip": 1}
    wanted["time"] = {"from": "now-6h", "to": "now"}
    for key, value in wanted.items():
        if dash.get(key) != value:
            yield f"{key} is {dash.get(key)!r}, not {value!r}"
    for key in ("__inputs", "__requires", "__elements", "id"):
        if key in dash:
            yield f"{key} belongs to an export, not to a provisioned file"
    if not 36 <= dash["schemaVersion"] <= 39:
        yield f"schemaVersion {dash['schemaVersion']}: Grafana 10 must know it"
    if not dash.get("tags") or not dash.get("description"):
        yield "no tags or no description"


def the_data_source_is_a_variable(dash):
    variable = variables_of(dash).get("datasource", {})
    if (variable.get("type"), variable.get("query"), variable.get("label")) != ("datasource", "prometheus", "Data source"):
        yield "no variable `datasource` of type prometheus with the label Data source"


def no_data_source_is_hard_coded(dash):
    users = [(panel["title"], panel) for panel in panels_of(dash)]
    users += [(f"{title} {target['refId']}", target) for title, panel in users for target in panel.get("targets", [])]
    users += [(each["name"], each) for each in dash["annotations"]["list"]]
    users += [(name, each) for name, each in variables_of(dash).items() if each["type"] == "query"]
    yield from (f"{name}: {each.get('datasource')}" for name, each in users if each.get("datasource") != DATASOURCE)


def variables_ask_for_labels(dash):
    found = {name: each for name, each in variables_of(dash).items() if each["type"] != "datasource"}
    if {name: each["label"] for name, each in found.items()} != VARIABLES:
        yield f"variables are {sorted(found)}"
    for name, each in found.items():
        settings = [each.get(key) for key in ("type", "multi", "includeAll", "allValue", "refresh")]
        if settings != ["query", True, True, ".+", 2]:
            yield f"{name}: type, multi, includeAll, allValue, refresh are {settings}"
        query = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"]["query"])
        if not query or query[2] != name or each.get("definition") != each["query"]["query"]:
            yield f"{name}: no label_values(..., {name})"
            continue
        selector = parse(query[1])
        if selector.name not in CATALOGUE or name not in LABELS.get(selector.name, set()) | {"job", "instance"}:
            yield f"{name}: {selector.name} has no such label"


def panels_say_what_they_show(dash):
    for panel in panels_of(dash):
        if not panel.get("title") or len(panel.get("description", "")) < 20:
            yield f"{panel.get('title')!r}: no title or no description"
        if len(panel["title"]) > 40:
            yield f"{panel['title']}: a long title"
        if not panel["fieldConfig"]["defaults"].get("noValue"):
            yield f"{panel['title']}: nothing to say when there is no data"


def ids_and_titles_are_unique(dash):
    for key in ("id", "title"):
        counts = Counter(panel[key] for panel in dash["panels"])
        yield from (f"{key} {value!r} twice" for value, count in counts.items() if count > 1)


def units_are_known(dash):
    for panel in panels_of(dash):
        units = [panel["fieldConfig"]["defaults"].get("unit")]
        units += [value for _, name, value in properties(panel) if name == "unit"]
        yield from (f"{panel['title']}: unit {unit}" for unit in units if unit not in UNITS)


def panels_have_queries(dash):
    for panel in panels_of(dash):
        ids = [target["refId"] for target in panel.get("targets", []) if target.get("expr", "").strip()]
        if not ids or len(ids) != len(panel["targets"]) or len(set(ids)) != len(ids):
            yield f"{panel['title']}: no query, an empty one, or a refId twice"


def queries_are_promql(dash):
    for where, expr in expressions(dash):
        try:
            parse(expr)
        except ValueError as error:
            yield f"{where}: {error}"


def rates_follow_the_zoom(dash):
    for where, node, parents in nodes(dash):
        if not isinstance(node, promql.MatrixSelector) or where.startswith("annotation"):
            continue
        function = called(parents)
        if function in ("rate", "irate") and node.range != RATE_INTERVAL:
            yield f"{where}: {function} over {node.range}, not $__rate_interval"
        if node.range == RATE_INTERVAL and function not in ("rate", "irate", "increase"):
            yield f"{where}: $__rate_interval in {function}"


def counters_are_never_bare(dash):
    for where, node, parents in selectors(dash):
        if re.search(r"_(total|bucket|sum|count)$", node.name) and called(parents[:-1]) not in ("rate", "irate", "increase"):
            yield f"{where}: {node.name} outside of rate, irate and increase"


def queries_are_filtered_by_job_and_instance(dash):
    for where, node, _ in selectors(dash):
        found = matchers(node)
        if found.get("job") != (promql.MatchOp.Re, "$job"):
            yield f'{where}: {node.name} without job=~"$job"'
        # Recording rules and alerts sum replicas away.
        if node.name in RECORDED | ALERT_SERIES:
            if "instance" in found:
                yield f"{where}: {node.name} has no instance"
        elif found.get("instance") != (promql.MatchOp.Re, "$instance"):
            yield f'{where}: {node.name} without instance=~"$instance"'


def metrics_exist(dash):
    for where, node, _ in selectors(dash):
        if node.name not in CATALOGUE | RECORDED | ALERT_SERIES | FOREIGN:
            yield f"{where}: no metric {node.name}"


def matchers_name_labels_of_the_metric(dash):
    for where, node, _ in selectors(dash):
        name = node.name if node.name in LABELS else re.sub(r"_(bucket|sum|count)$", "", node.name)
        if name in LABELS:
            extra = matchers(node).keys() - LABELS[name] - {"job", "instance"}
            yield from (f"{where}: {node.name} has no label {label}" for label in sorted(extra))


def no_bucket_is_matched(dash):
    """Prometheus 3 writes `le` in another way."""
    yield from (f"{where}: le of {node.name}" for where, node, _ in selectors(dash) if "le" in matchers(node))


def foreign_metrics_are_joined_with_ours(dash):
    for where, expr in expressions(dash):
        if re.search(rf"\b({'|'.join(FOREIGN)})\{{", expr) and "solvegate_build_info" not in expr:
            yield f"{where}: shows every process that this Prometheus scrapes"


def the_grid_has_no_holes(dash):
    taken, row_lines = Counter(), set()
    for panel in dash["panels"]:
        x, y, width, height = (panel["gridPos"][key] for key in "xywh")
        taken.update((column, line) for column in range(x, x + width) for line in range(y, y + height))
        if panel["type"] == "row":
            row_lines.add(y)
            if (x, width, height) != (0, 24, 1) or panel["collapsed"] or panel["panels"]:
                yield f"row {panel['title']}: {panel['gridPos']}, or collapsed"
    depth = max(line for _, line in taken) + 1
    yield from (f"overlap at {cell}" for cell, count in taken.items() if count > 1)
    yield from (f"beyond the right edge at {cell}" for cell in taken if cell[0] >= 24)
    yield from (f"hole at {(x, y)}" for y in range(depth) for x in range(24) if not taken[x, y])
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in dash["panels"]]
    if places != sorted(places):
        yield "panels do not stand in the order in which they are seen"


def rows_stand_in_their_order(dash):
    rows = [panel["title"] for panel in dash["panels"] if panel["type"] == "row"]
    if rows != ROWS:
        yield f"rows are {rows}"


def burn_thresholds_are_dashed(dash):
    burns = [rule["labels"] for name, rule in ALERTS.items() if name.startswith("SolvegateErrorBudgetBurn")]
    for labels in burns:
        burn = f"captcha_type:solvegate_slo_burn_rate:ratio_rate{labels['long_window']}{{"
        drawn = False
        for panel in (panel for panel in panels_of(dash) if panel["type"] == "timeseries"):
            if not any(target["expr"].startswith(f"max by (captcha_type) ({burn}") for target in panel["targets"]):
                continue
            dashed = {
                matcher["options"]
                for matcher, name, value in properties(panel)
                if matcher["id"] == "byFrameRefID" and name == "custom.lineStyle" and value["fill"] == "dash"
            }
            lines = [target["expr"] for target in panel["targets"] if target["refId"] in dashed]
            tiers = {tier for line in lines for tier in re.findall(r'threshold:min\{[^}]*tier="(\w+)"', line)}
            drawn |= tiers == {labels["tier"]}
        if not drawn:
            yield f"no burn rate over {labels['long_window']} with a dashed threshold of tier {labels['tier']}"


def statuses_have_their_colours(dash):
    shown = 0
    for panel in panels_of(dash):
        maps = list(panel["fieldConfig"]["defaults"].get("mappings", []))
        maps += [each for _, name, value in properties(panel) if name == "mappings" for each in value]
        for mapping in (each for each in maps if each["type"] == "value"):
            colours = {each.get("text"): each.get("color") for each in mapping["options"].values()}
            if "exhausted" in colours:
                shown += 1
                if colours != STATUS_COLOURS:
                    yield f"{panel['title']}: {colours}"
    if shown < 2:
        yield "the status is shown in the table and over time"


def overrides_match_something(dash):
    for panel in panels_of(dash):
        organized = [each["options"]["renameByName"] for each in panel.get("transformations", []) if each["id"] == "organize"]
        names = {name for renamed in organized for name in renamed.values()}
        ids = {target["refId"] for target in panel["targets"]}
        for matcher in {json.dumps(override["matcher"]) for override in panel["fieldConfig"]["overrides"]}:
            kind, options = json.loads(matcher).values()
            if kind == "byFrameRefID" and options not in ids:
                yield f"{panel['title']}: no query {options}"
            if panel["type"] == "table" and kind == "byName" and options not in names:
                yield f"{panel['title']}: no column {options}"


def links_lead_to_runbooks(dash):
    if {link["url"] for link in dash["links"]} != RUNBOOK_BASES:
        yield f"the dashboard links to {[link['url'] for link in dash['links']]}, the alerts to {RUNBOOK_BASES}"
    linked = set()
    for panel in panels_of(dash):
        for link in panel.get("links", []):
            base, _, file = link["url"].rpartition("/")
            linked.add(file)
            if base not in RUNBOOK_BASES or not (RUNBOOKS / file).is_file():
                yield f"{panel['title']}: {link['url']}"
    burns = {f"{name}.md" for name in ALERTS if name.startswith("SolvegateErrorBudgetBurn")}
    yield from (f"no panel links to {file}" for file in sorted(burns - linked))


CHECKS = [
    it_opens_as_it_is, the_data_source_is_a_variable, no_data_source_is_hard_coded, variables_ask_for_labels,
    panels_say_what_they_show, ids_and_titles_are_unique, units_are_known, panels_have_queries, queries_are_promql,
    rates_follow_the_zoom, counters_are_never_bare, queries_are_filtered_by_job_and_instance, metrics_exist,
    matchers_name_labels_of_the_metric, no_bucket_is_matched, foreign_metrics_are_joined_with_ours, the_grid_has_no_holes,
    rows_stand_in_their_order, burn_thresholds_are_dashed, statuses_have_their_colours, overrides_match_something,
    links_lead_to_runbooks,
]


# === checks of the other files


def the_json_is_laid_out():
    text = DASHBOARD.read_text()
    return [] if text == layout(json.loads(text)) + "\n" else ["run tests/grafana/check.py --format"]


def exclusions_are_the_documented_one():
    found = yaml.safe_load((ROOT / "grafana" / ".lint").read_text())
    if set(found) != {"exclusions"} or set(found["exclusions"]) != {"target-instance-rule"}:
        yield f"{found}"
    elif not found["exclusions"]["target-instance-rule"].get("reason"):
        yield "no reason"


def provisioning_files_are_valid():
    folder = ROOT / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "solvegate.yml").read_text())
    provider = yaml.safe_load((folder / "dashboards" / "solvegate.yml").read_text())
    if (source["apiVersion"], [each["type"] for each in source["datasources"]]) != (1, ["prometheus"]):
        yield "datasources: not one of type prometheus"
    if any(not each["url"].startswith("http") or "uid" in each for each in source["datasources"]):
        yield "datasources: no URL, or a uid that another data source may have"
    if (provider["apiVersion"], [each["type"] for each in provider["providers"]]) != (1, ["file"]):
        yield "dashboards: not one provider of type file"
    if any(each["allowUiUpdates"] or not each["options"]["path"].startswith("/") for each in provider["providers"]):
        yield "dashboards: can be changed in the browser, or no absolute path"


def main():
    if "--format" in sys.argv[1:]:
        DASHBOARD.write_text(layout(json.loads(DASHBOARD.read_text())) + "\n")
        return 0
    dash = json.loads(DASHBOARD.read_text())
    passed = failed = 0

    def report(name, wrong):
        nonlocal passed, failed
        passed, failed = passed + (not wrong), failed + bool(wrong)
        print(f"{'FAILED' if wrong else 'ok'}: {name}{': ' if wrong else ''}{chr(10).join(wrong)}")

    for check in (the_json_is_laid_out, exclusions_are_the_documented_one, provisioning_files_are_valid):
        report(check.__name__.replace("_", " "), list(check()))
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        report(name, list(check(dash)))
        breakages = BREAKAGES.get(check.__name__, [])
        report(f"{name}: can fail", [] if breakages else ["no breakage for it in breakages.py"])
        for breakage in breakages:
            broken = copy.deepcopy(dash)
            breakage(broken)
            noticed = broken != dash and set(check(broken)) - set(check(dash))
            report(f"{name}: notices {breakage.__doc__}", [] if noticed else ["it does not"])
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed; {len(panels_of(dash))} panels")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
