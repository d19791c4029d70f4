"""One chain for the whole story; when a chapter fails, what the chain knows is shown."""

import time

import pytest

from processes import Alertmanager, Prometheus, Provider, QueryError, Sidecar, free_port
from setting import WATCHDOG
from traffic import Traffic
from webhook import Webhook


def eventually(condition, what, seconds=60.0):
    """Returns the first true value of `condition()`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}; it is {value!r}"
        time.sleep(0.1)


class Chain:
    def __init__(self, directory):
        self.directory = directory
        self.ports = {name: free_port() for name in ("provider", "data", "admin", "prometheus", "alertmanager")}
        self.closers = []
        self.lives = 0
        self.started_at = time.time()

    def start(self):
        self.webhook = self.closing(Webhook(), "close")
        self.start_provider()
        self.start_sidecar()
        self.traffic = self.closing(Traffic(self.sidecar.url), "stop")
        ports = self.ports
        self.alertmanager = self.closing(Alertmanager(self.directory, ports["alertmanager"], self.webhook.url), "kill")
        self.prometheus = self.closing(
            Prometheus(self.directory, ports["prometheus"], ports["admin"], ports["alertmanager"]), "kill"
        )
        for program in (self.alertmanager, self.prometheus):
            eventually(program.ready, f"{program.name} to be ready")
        eventually(self.prometheus.scrapes, "all targets to be up, and Alertmanager to be known")
        self.prometheus.load_rules()
        eventually(lambda: WATCHDOG in self.prometheus.firing(), "the rules to be loaded")

    def closing(self, thing, how):
        self.closers.append(getattr(thing, how))
        return thing

    def start_provider(self):
        self.lives += 1
        self.provider = self.closing(Provider(self.directory, self.ports["provider"], self.lives), "kill")

    def start_sidecar(self):
        sidecar = Sidecar(self.directory, self.ports["data"], self.ports["admin"], self.provider.url)
        self.sidecar = self.closing(sidecar, "kill")

    def close(self):
        for close in reversed(self.closers):
            close()

    def failed_scrapes(self):
        counts = ("count_over_time(up[1h]) - sum_over_time(up[1h])", "1 - avg_over_time(up[1h])")
        found = [self.prometheus.query(count) for count in counts]
        return [f"{labels['job']}: {n[0][1]:.0f}, {s[0][1]:.3f}" for (labels, n), (_, s) in zip(*found)]

    def moment(self, *conditions):
        """A time, a little in the past, at which all was scraped and recorded, and these conditions held.

        A scrape that is not answered within its interval makes all of the sidecar absent until the next one.
        """
        whole = " and on () ".join(
            f"count({one})"
            for one in (
                *conditions,
                'up{job="solvegate"} == 1',
                "captcha_type:solvegate_slo_objective:ratio",
                "captcha_type:solvegate_slo_burn_rate:ratio_rate30d",
                "captcha_type:solvegate_slo_error_budget_remaining:ratio_ledger",
                "tenant:solvegate_tenant_limit_used:ratio",
                "account:solvegate_account_balance_usd:hours_left",
            )
        )

        def known():
            at = time.time() - 2
            return at if self.prometheus.query(whole, at) else None

        return eventually(known, f"all to be scraped and recorded, and {conditions}")

    def report(self):
        """Where to look when a chapter fails."""
        lines = [f"files and logs: {self.directory}"]
        lines += [
            f"{n.at - self.started_at:7.2f} s {n.receiver:8} {n.status:8} {told(n.labels)}"
            for n in self.webhook.of("pager", "tickets")
        ]
        lines.append(f"answers to clients: {self.traffic.answers}")
        for what, ask in (
            ("scrapes that failed, and their share", self.failed_scrapes),
            ("Prometheus' alerts", lambda: self.prometheus.get("alerts")["alerts"]),
            ("Alertmanager's alerts", self.alertmanager.alerts),
            ("targets", lambda: self.prometheus.get("targets", state="active")["activeTargets"]),
        ):
            try:
                found = [one if isinstance(one, str) else short(one) for one in ask()]
            except (AssertionError, OSError, QueryError) as error:
                found = [repr(error)]
            lines += [f"{what}:", *(f"  {one}" for one in found)]
        for process in (self.prometheus, self.alertmanager, self.sidecar, self.provider):
            lines += [f"{process.name} said at last:", *process.output().splitlines()[-10:]]
        return "\n".join(lines)


def short(one):
    """An alert or a target on one line."""
    status = one.get("status", {})
    state = one.get("state") or one.get("health") or f"{status['state']} by {status['inhibitedBy']}"
    return f"{state} {told(one['labels'])} {one.get('value', '')} {one.get('lastError', '')}".rstrip()


def told(labels):
    known = ("alertname", "captcha_type", "slo", "tenant", "limit", "account", "job", "instance")
    return " ".join(labels[name] for name in known if name in labels)


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    chain = Chain(tmp_path_factory.mktemp("chain"))
    try:
        chain.start()
        yield chain
    finally:
        chain.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    chain = item.funcargs.get("chain") if hasattr(item, "funcargs") else None
    if report.when == "call" and report.failed and chain:
        report.sections.append(("the chain", chain.report()))
    return report
