#!/usr/bin/env python3
"""Checks rules/, its examples and its runbooks; runs the unit tests; prints one line per check and case.

usage: check.py [--write-metrics]    --write-metrics: renew metrics_used.txt
"""

import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RULES = sorted((ROOT / "rules").glob("*.yml"))
TESTS = sorted(HERE.glob("*.yml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
INDEX = RUNBOOKS / "README.md"
METRICS = HERE / "metrics_used.txt"
SEVERITIES = {"critical", "warning", "info", "none"}
SECTIONS = ["## What it means", "## Confirm", "## Do", "## Do not"]

rules = [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
tests = {path: yaml.safe_load(path.read_text()) for path in TESTS}


def queries(runbook):
    """The queries of a runbook: each line of its promql blocks."""
    for block in re.findall(r"```promql\n(.*?)```", runbook.read_text(), re.DOTALL):
        yield from (line for line in block.splitlines() if line and not line.startswith("#"))


def sidecar_metrics():
    """Names that the rules and the runbooks' queries expect in the sidecar's /metrics."""
    texts = [rule["expr"] for rule in rules] + [query for path in RUNBOOKS.glob("*.md") for query in queries(path)]
    # A colon before the name: a recording rule. Between quotes: a label's value.
    texts = [re.sub(r'"[^"]*"', '""', text) for text in texts]
    return sorted({name for text in texts for name in re.findall(r"(?<![:\w])solvegate_\w+", text)})


def command(*words):
    """What a command complains of; empty when it is content."""
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    return (run.stdout + run.stderr).strip() or "failed" if run.returncode else ""


# === checks: each returns what is wrong


def golden_metrics_are_clean():
    with (ROOT / "tests" / "golden" / "metrics.prom").open() as file:
        run = subprocess.run(["promtool", "check", "metrics"], stdin=file, capture_output=True, text=True, check=False)
    return (run.stdout + run.stderr).strip() or ("failed" if run.returncode else "")


def rules_are_valid():
    return command("promtool", "check", "rules", *map(str, RULES))


def no_histogram_bucket_is_matched():
    return [f"{rule}" for rule in rules if re.search(r"[{,]\s*le\s*[=!]", rule["expr"])]


def alerts_are_annotated():
    for name, rule in alerts.items():
        if rule.get("labels", {}).get("severity") not in SEVERITIES:
            yield f"{name}: no severity of {sorted(SEVERITIES)}"
        for annotation in ("summary", "description", "runbook_url"):
            if not rule.get("annotations", {}).get(annotation):
                yield f"{name}: no {annotation}"
        if "$value" in str(rule["labels"]):
            yield f"{name}: a value in a label makes a new alert of each evaluation"


def runbook_links_have_one_base():
    bases = {rule["annotations"]["runbook_url"].removesuffix(f"/{name}.md") for name, rule in alerts.items()}
    return [] if bases == {"https://solvegate.example/runbooks"} else sorted(bases)


def alerts_and_runbooks_pair_up():
    files = {path.stem for path in RUNBOOKS.glob("*")} - {INDEX.stem}
    yield from (f"{name}: no docs/runbooks/{name}.md" for name in sorted(alerts.keys() - files))
    yield from (f"docs/runbooks/{name}.md: no such alert" for name in sorted(files - alerts.keys()))


def the_list_of_alerts_is_current():
    said = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \| ([\w ]+) \| \S", INDEX.read_text(), re.MULTILINE)
    true = {(name, name, rule["labels"]["severity"], rule.get("for", "at once")) for name, rule in alerts.items()}
    yield from (f"{INDEX.name}: not so in rules/: {row}" for row in said if row not in true)
    yield from (f"{INDEX.name}: missing: {row}" for row in sorted(true - set(said)))


def runbooks_have_their_sections():
    for path in sorted(set(RUNBOOKS.glob("*.md")) - {INDEX}):
        text = path.read_text()
        if not text.startswith(f"# {path.stem}\n"):
            yield f"{path.name}: the title is not the alert"
        severity = alerts.get(path.stem, {}).get("labels", {}).get("severity")
        if f"Severity: {severity}." not in text:
            yield f"{path.name}: does not say severity {severity}"
        if [line for line in text.splitlines() if line.startswith("## ")] != SECTIONS:
            yield f"{path.name}: the sections are not {SECTIONS}"
        for link in re.findall(r"\]\(([^)]+)\)", text):
            if not (RUNBOOKS / link).exists():
                yield f"{path.name}: links to {link}, which is not there"


def queries_of_runbooks_are_valid():
    group = [
        {"record": "query", "expr": query, "labels": {"n": f"{path.stem}{n}"}}
        for path in sorted(RUNBOOKS.glob("*.md")) for n, query in enumerate(queries(path))
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": [{"name": "queries", "rules": group}]}, file)
        file.flush()
        return command("promtool", "check", "rules", file.name)


def recorded_names_in_runbooks_exist():
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for path in sorted(RUNBOOKS.glob("*.md")):
        for query in queries(path):
            yield from (
                f"{path.name}: {name}" for name in re.findall(r"\b[a-z_]+:solvegate_[\w:]+", query) if name not in recorded
            )


def metrics_used_is_current():
    return "" if METRICS.read_text().splitlines() == sidecar_metrics() else "run tests/rules/check.py --write-metrics"


def every_alert_fires_and_clears_in_a_test():
    fires, silent = set(), set()
    for test in tests.values():
        for case in test["tests"]:
            for check in case.get("alert_rule_test", []):
                (fires if check["exp_alerts"] else silent).add(check["alertname"])
    yield from (f"{name}: no case in which it fires" for name in sorted(alerts.keys() - fires))
    # The watchdog always fires.
    yield from (f"{name}: no case in which it is silent" for name in sorted(alerts.keys() - silent - {"SolvegateWatchdog"}))


def groups_are_tested_in_their_order():
    for path, test in tests.items():
        files = [(path.parent / file).resolve() for file in test["rule_files"]]
        order = [group["name"] for file in files for group in yaml.safe_load(file.read_text())["groups"]]
        if test.get("group_eval_order") != order:
            yield f"{path.name}: group_eval_order is not {order}"


def prometheus_example_is_valid():
    example = ROOT / "rules" / "examples" / "prometheus.yml"
    config = yaml.safe_load(example.read_text())
    loaded = {(example.parent / file).resolve() for file in config["rule_files"]}
    if loaded != {path.resolve() for path in RULES}:
        return "rule_files is not every file of rules/"
    # The token file exists on the operator's machine only.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "token").write_text("x")
        for scrape in config["scrape_configs"]:
            if "authorization" in scrape:
                scrape["authorization"]["credentials_file"] = f"{folder}/token"
        config["rule_files"] = sorted(map(str, loaded))
        copy = Path(folder) / "prometheus.yml"
        copy.write_text(yaml.safe_dump(config))
        return command("promtool", "check", "config", str(copy))


def alertmanager_example_is_valid():
    return command("amtool", "check-config", str(ROOT / "rules" / "examples" / "alertmanager.yml"))


def alerts_reach_their_receivers():
    example = str(ROOT / "rules" / "examples" / "alertmanager.yml")
    receivers = {"critical": "pager", "warning": "tickets", "info": "nobody", "none": "dead-man"}
    for name, rule in alerts.items():
        labels = [f"{key}={value}" for key, value in rule["labels"].items()]
        wrong = command(
            "amtool", "config", "routes", "test", f"--config.file={example}",
            f"--verify.receivers={receivers[rule['labels']['severity']]}", f"alertname={name}", *labels,
        )
        if wrong:
            yield f"{name}: {wrong}"


def an_inhibition_stays_with_its_subject():
    """An alert about one account, instance or tenant may not silence what is said of others."""
    by_name = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
    config = yaml.safe_load((ROOT / "rules" / "examples" / "alertmanager.yml").read_text())
    for inhibition in config["inhibit_rules"]:
        names = [name for one in inhibition["source_matchers"] for name in re.findall(r'^alertname="(\w+)"$', one)]
        for name in names:
            if name not in alerts:
                yield f"{name}: no such alert"
                continue
            expr = re.sub(r"[a-z_]+:solvegate_[\w:]+", lambda found: by_name[found[0]], alerts[name]["expr"])
            kept = {label for labels in re.findall(r"\bby \(([^)]*)\)", expr) for label in labels.split(", ")}
            if not kept or kept - set(inhibition["equal"]):
                yield f"{name}: it tells apart {sorted(kept)}, and silences by {inhibition['equal']}"


def unit_test(path):
    """Cases of a file that passed, and what promtool says of the others."""
    cases = len(tests[path]["tests"])
    wrong = command("promtool", "test", "rules", str(path))
    failed = len(set(re.findall(r"^\s*name: (.*),$", wrong, re.MULTILINE))) or cases if wrong else 0
    return cases - failed, failed, wrong


def main():
    if "--write-metrics" in sys.argv[1:]:
        METRICS.write_text("".join(f"{name}\n" for name in sidecar_metrics()))
        return 0
    passed = failed = 0
    for check in (
        golden_metrics_are_clean, rules_are_valid, no_histogram_bucket_is_matched, alerts_are_annotated,
        runbook_links_have_one_base, alerts_and_runbooks_pair_up, the_list_of_alerts_is_current,
        runbooks_have_their_sections, queries_of_runbooks_are_valid, recorded_names_in_runbooks_exist,
        metrics_used_is_current, every_alert_fires_and_clears_in_a_test, groups_are_tested_in_their_order, prometheus_example_is_valid, alertmanager_example_is_valid,
        alerts_reach_their_receivers, an_inhibition_stays_with_its_subject,
    ):
        wrong = check()
        wrong = wrong if isinstance(wrong, str) else "\n".join(wrong)
        passed, failed = passed + (not wrong), failed + bool(wrong)
        print(f"{'FAILED' if wrong else 'ok'}: {check.__name__.replace('_', ' ')}{': ' if wrong else ''}{wrong}")
    with ThreadPoolExecutor(2) as pool:
        for path, (good, bad, wrong) in zip(TESTS, pool.map(unit_test, TESTS)):
            passed, failed = passed + good, failed + bad
            print(f"{'FAILED' if wrong else 'ok'}: {path.name}: {good} passed, {bad} failed {wrong}".rstrip())
    print(f"checks: {passed} passed; {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
