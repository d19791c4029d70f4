"""When alerts fire and resolve, as Prometheus decides it from what their expressions say at each evaluation."""

from dataclasses import dataclass

from rules import seconds

INTERVAL = 60
# Recording rules and alerts are evaluated by turns of their own, so an alert reads values up to one interval old.
# Taken for every alert: the latest that it can be.
PHASE = 60


@dataclass(frozen=True)
class Firing:
    alert: str
    severity: str
    captcha_type: str
    fired: int
    resolved: int


def firings(alert, true_at):
    """From-to of each firing; `true_at` are the evaluations at which the expression had a value."""
    wait, keep = seconds(alert.get("for", "0s")), seconds(alert.get("keep_firing_for", "0s"))
    fired = resolved = None
    for begin, last in runs(sorted(true_at)):
        if fired is not None and begin >= resolved:
            yield fired, resolved
            fired = None
        if fired is None:
            at = begin + -(-wait // INTERVAL) * INTERVAL
            if at > last:
                continue
            fired = at
        # The first evaluation without a value starts the time that it is kept.
        resolved = last + INTERVAL + -(-keep // INTERVAL) * INTERVAL
    if fired is not None:
        yield fired, resolved


def runs(times):
    """First and last of each stretch of evaluations in a row."""
    begin = last = None
    for at in times:
        if last is not None and at != last + INTERVAL:
            yield begin, last
            begin = None
        if begin is None:
            begin = at
        last = at
    if begin is not None:
        yield begin, last


def all_firings(server, rules, job, names, start, end):
    """Every firing of one job's alerts between two times."""
    found = []
    for name in names:
        alert = rules.alerts[name]
        expr = rules.expanded(alert["expr"], f'job="{job}"')
        for labels, values in server.over(expr, start, end, INTERVAL).items():
            for fired, resolved in firings(alert, values):
                captcha_type = dict(labels)["captcha_type"]
                severity = alert["labels"]["severity"]
                found.append(Firing(name, severity, captcha_type, fired + PHASE, resolved + PHASE))
    return sorted(found, key=lambda firing: firing.fired)
