"""The processes of the chain: provider, sidecar, Prometheus, Alertmanager. All on loopback."""

import contextlib
import datetime
import json
import shutil
import signal
import socket
import sqlite3
import subprocess
from urllib.parse import urlencode

import yaml
from support.process import Process
from support.stack import made_key
from support.wire import http

from compress import compressed
from setting import EXAMPLES, FACTOR, LOOKBACK, RESEND, RULES, SCRAPE

ACCOUNT_KEY = made_key("the account at the provider")
ADMIN_TOKEN = made_key("the admin token")
DAILY_LIMIT = 25

# The windows of the rules shrink; so does the SLO's, which is the sidecar's: one day. One type keeps the 30 days that
# make its burn-rate thresholds the classic 14.4, 6, 3 and 1; a day, compressed, makes them all 1. So much is promised
# of it that one failure is over the threshold of every tier, and that `for` alone says which tier speaks first.
# The objective on latency promises so little that even the lowest threshold has to give way: with it, every tier has
# types of different thresholds.
WATCHED = "turnstile"
SLO = {
    "default": {"objective": 0.95, "window": f"{86_400 // FACTOR}s", "deadline": "60s", "min_events": 5},
    "types": {
        WATCHED: {"objective": 0.9999, "window": "30d"},
        "recaptcha_v3": {"latency": {"threshold": "5s", "objective": 0.15}},
    },
}
TENANTS = {
    "acme": {"daily_limit": 100_000, "in_flight_max": 50, "monthly_spend_cap": 1_000},
    "crawler": {"prepaid": {"opening_balance": 100}, "daily_spend_cap": 90},
    "trial": {"enforce": False, "rate_per_minute": 5},
    "small": {"daily_limit": DAILY_LIMIT},
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def midday():
    """A time zone in which it is about noon, so that no day of a limit ends during the test."""
    hours = 12 - datetime.datetime.now(datetime.timezone.utc).hour
    return f"Etc/GMT{-hours:+d}"


class Solvegate(Process):
    def listens(self, pattern):
        try:
            self.address(pattern, 60)
        except BaseException:
            self.kill()
            raise


class Provider(Solvegate):
    """The simulated provider; its ids depend on the seed, so each life has its own."""

    def __init__(self, directory, port, seed):
        self.url = f"http://127.0.0.1:{port}"
        # Each life has spent something: a balance that does not fall is not shown as running out.
        account = f"{ACCOUNT_KEY},threads=100,balance={1_000 - 10 * seed}"
        manners = "--jitter 0 --solve-time 200ms --price 0.002"
        arguments = f"--listen 127.0.0.1:{port} --seed {seed} {manners} --account {account}"
        super().__init__("simulate-provider", ["simulate-provider", *arguments.split()], directory)
        self.listens(r"listening on (http://[^\s\"/]+)")

    def fail(self, *shares):
        """Sets the share of solves that fail, as `turnstile/unsolvable=1`."""
        headers = {"Content-Type": "application/json"}
        reply = http("POST", f"{self.url}/-/errors", json.dumps(shares).encode(), headers)
        assert reply.status == 200, reply


class Sidecar(Solvegate):
    def __init__(self, directory, data_port, admin_port, provider_url):
        self.url = f"http://127.0.0.1:{data_port}"
        self.admin = f"http://127.0.0.1:{admin_port}"
        settings = {
            "listen": f"127.0.0.1:{data_port}",
            "admin": {"listen": f"127.0.0.1:{admin_port}", "token": ADMIN_TOKEN},
            "upstream": {"url": provider_url, "poll_spacing": "50ms"},
            "accounts": {"main": {"key": ACCOUNT_KEY, "low_balance_below": 50}},
            "prices": {"default": 0.003},
            "timezone": midday(),
            "tenants": {
                name: {**policy, "keys": {"app": {"key": made_key(name)}}} for name, policy in TENANTS.items()
            },
            "slo": SLO,
            "state": {"path": str(directory / "solvegate.db")},
        }
        path = directory / "solvegate.yaml"
        path.write_text(json.dumps(settings, indent=2))
        super().__init__("solvegate run", ["run", "--config", str(path)], directory)
        self.record = directory / "solvegate.db"
        self.listens(r"\badmin on (http://[^\s\"/]+)")

    def crash(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    @contextlib.contextmanager
    def locked_record(self):
        """Somebody else holds the record, so that nothing can be written to it."""
        with contextlib.closing(sqlite3.connect(self.record, timeout=20, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    def metrics(self):
        """Every sample of /metrics as `{name: {labels text: value}}`."""
        reply = http("GET", f"{self.admin}/metrics", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
        assert reply.status == 200, reply
        samples = {}
        for line in reply.text.splitlines():
            if line and not line.startswith("#"):
                series, value = line.rsplit(" ", 1)
                name, _, labels = series.partition("{")
                samples.setdefault(name, {})[labels.rstrip("}")] = float(value)
        return samples


class Program:
    """A program of Debian; what it says goes to a file."""

    def __init__(self, directory, name, arguments, ready):
        self.name = name
        self.log = directory / f"{name}.log"
        self.ready_url = ready
        with self.log.open("w") as log:
            self.child = subprocess.Popen(
                [shutil.which(name), *arguments], cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def ready(self):
        assert self.child.poll() is None, f"{self.name} ended:\n{self.log.read_text()}"
        try:
            return http("GET", self.ready_url).status == 200
        except OSError:
            return False

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def output(self):
        return self.log.read_text()


class Alertmanager(Program):
    """The shipped example, faster, with the webhook's address for the three that are to be replaced."""

    def __init__(self, directory, port, webhook_url):
        self.url = f"http://127.0.0.1:{port}"
        config = compressed(yaml.safe_load(EXAMPLES[1].read_text()), FACTOR)
        for receiver in config["receivers"]:
            for hook in receiver.get("webhook_configs", []):
                hook["url"] = f"{webhook_url}/{receiver['name']}"
        path = directory / "alertmanager.yml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        super().__init__(
            directory,
            "prometheus-alertmanager",
            [
                f"--config.file={path}",
                f"--storage.path={directory / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            f"{self.url}/-/ready",
        )

    def alerts(self, **labels):
        """What it has, sent or held back, of those labels."""
        alerts = json.loads(http("GET", f"{self.url}/api/v2/alerts").text)
        return [a for a in alerts if labels.items() <= a["labels"].items()]


class Prometheus(Program):
    """The shipped rules and example, faster; only addresses, paths and the pace of scrapes differ besides."""

    def __init__(self, directory, port, admin_port, alertmanager_port):
        self.url = f"http://127.0.0.1:{port}"
        rules = []
        for path in RULES:
            rules.append(directory / path.name)
            rules[-1].write_text(yaml.safe_dump(compressed(yaml.safe_load(path.read_text()), FACTOR), sort_keys=False))
        config = compressed(yaml.safe_load(EXAMPLES[0].read_text()), FACTOR)
        assert config["global"].pop("scrape_interval")
        config["global"]["scrape_interval"] = SCRAPE
        assert sorted(file.rsplit("/", 1)[-1] for file in config["rule_files"]) == [path.name for path in RULES]
        self.rule_files = [str(path) for path in rules]
        config["rule_files"] = []
        (directory / "token").write_text(ADMIN_TOKEN)
        places = {"solvegate": admin_port, "prometheus": port, "alertmanager": alertmanager_port}
        for scrape in config["scrape_configs"]:
            scrape["static_configs"] = [{"targets": [f"127.0.0.1:{places[scrape['job_name']]}"]}]
            if "authorization" in scrape:
                scrape["authorization"]["credentials_file"] = str(directory / "token")
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]}]
        self.config = config
        self.path = directory / "prometheus.yml"
        self.path.write_text(yaml.safe_dump(config, sort_keys=False))
        super().__init__(
            directory,
            "prometheus",
            [
                f"--config.file={self.path}",
                f"--storage.tsdb.path={directory / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--query.lookback-delta={LOOKBACK}",
                f"--rules.alert.resend-delay={RESEND}",
                "--log.level=warn",
            ],
            f"{self.url}/-/ready",
        )

    def scrapes(self):
        """Whether every target is up and Alertmanager is known."""
        targets = self.get("targets", state="active")["activeTargets"]
        up = {target["health"] for target in targets} == {"up"} and len(targets) == len(self.config["scrape_configs"])
        return up and self.get("alertmanagers")["activeAlertmanagers"]

    def load_rules(self):
        """Only now: it takes 5 s of real time to see its first target, nearly the 10m, compressed, of an absent one."""
        self.config["rule_files"] = self.rule_files
        self.path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        self.child.send_signal(signal.SIGHUP)

    def get(self, what, **fields):
        reply = http("GET", f"{self.url}/api/v1/{what}?{urlencode(fields, doseq=True)}")
        answer = json.loads(reply.text)
        if answer["status"] != "success":
            raise QueryError(f"{answer['error']}: {fields}")
        return answer["data"]

    def query(self, expression, at=None):
        """The series of an instant query, as `(labels, [(time, value)])`."""
        moment = {} if at is None else {"time": at}
        return series(self.get("query", query=expression, **moment))

    def query_range(self, expression, start, end, step):
        return series(self.get("query_range", query=expression, start=start, end=end, step=step))

    def value(self, expression):
        """The one value of an expression, or `None`."""
        found = self.query(expression)
        assert len(found) <= 1, f"{expression}: {found}"
        return found[0][1][0][1] if found else None

    def firing(self):
        alerts = self.get("alerts")["alerts"]
        return sorted(alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing")


class QueryError(Exception):
    """Prometheus refused a query."""


def series(data):
    if data["resultType"] == "scalar":
        return [({}, [(data["result"][0], float(data["result"][1]))])]
    return [
        (one["metric"], [(at, float(value)) for at, value in one.get("values") or [one["value"]]])
        for one in data["result"]
    ]
