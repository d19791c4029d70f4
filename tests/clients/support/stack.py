"""A simulated provider with the sidecar before it: one pair for each test, so that every row is accounted for."""

import hashlib
from dataclasses import dataclass

from .clock import wait_until
from .record import Charge, Record, Solve
from .sidecar import PRICES, Sidecar, config, micros
from .simulator import Simulator, page
from .wire import get


def made_key(name):
    """A key of 32 letters and digits, always the same for a name."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Solved:
    """An answer that a client received."""

    kind: str
    task_id: str
    answer: object
    tenant: str


class Stack:
    account_key = made_key("the account at the provider")

    def __init__(self, directory, certificates, tenants):
        self.keys = {name: made_key(f"tenant {name}") for name in tenants}
        self.certificates = certificates
        self.record = Record(directory / "solvegate.db")
        self.processes = []
        try:
            self.simulator = self.started(Simulator(directory, self.account_key))
            keyed = {name: (self.keys[name], policy) for name, policy in tenants.items()}
            settings = config(
                self.simulator.url, self.account_key, keyed, certificates, self.record.path
            )
            self.sidecar = self.started(Sidecar(directory, settings))
        except BaseException:
            self.kill()
            raise

    def started(self, process):
        self.processes.append(process)
        return process

    def kill(self):
        for process in self.processes:
            process.kill()

    def tenant(self, name):
        """A client of our own for that tenant, whose requests are not noted as the library's."""
        return PlainClient(self.sidecar.http, self.keys[name], name)

    def expect_record(self, received, failed=()):
        """Stops everything and reconciles.

        Each answer in `received` was charged exactly once at the price of its type, nothing else was;
        each `(tenant, kind, outcome)` in `failed` was accepted and cost nothing; the provider accepted
        nothing beyond those.
        """
        tasks = self.simulator.tasks()
        submissions = self.simulator.submissions()
        provider_log = self.simulator.log()
        assert self.sidecar.stop() == 0, self.sidecar.output()
        self.simulator.stop()

        charges = [Charge(s.tenant, s.task_id, micros(PRICES[s.kind])) for s in received]
        assert self.record.charges() == sorted(charges)
        solves = self.record.solves()
        delivered = [Solve(s.tenant, s.kind, "solved", s.task_id, True, True) for s in received]
        assert sorted(s for s in solves if s.outcome == "solved") == sorted(delivered)
        others = [s for s in solves if s.outcome != "solved" and s.task_id is not None]
        assert sorted((s.tenant, s.captcha_type, s.outcome) for s in others) == sorted(failed)
        assert not any(s.charged for s in others), others
        assert sorted(tasks) == sorted((s.task_id, s.captcha_type) for s in [*delivered, *others])
        assert submissions == len(tasks)
        self.expect_no_key_leaks(provider_log)

    def expect_no_key_leaks(self, provider_log):
        places = {
            "the log of the sidecar": self.sidecar.output().encode(),
            "the record": self.record.bytes(),
        }
        for place, content in places.items():
            assert self.account_key.encode() not in content, f"the account's key is in {place}"
        for name, key in self.keys.items():
            assert key not in provider_log, f"the provider saw the key of {name}"
            for place, content in places.items():
                assert key.encode() not in content, f"the key of {name} is in {place}"


class PlainClient:
    """Submits and polls by GET with json=1."""

    def __init__(self, url, key, tenant):
        self.url = url
        self.key = key
        self.tenant = tenant

    def submit(self, solve="150ms", error=None):
        """Submits a turnstile; its task id."""
        reply = get(
            self.url,
            "in.php",
            key=self.key,
            method="turnstile",
            sitekey="0x4AAA",
            pageurl=page(solve, error),
            json=1,
        )
        assert reply.json()["status"] == 1, reply
        return str(reply.json()["request"])

    def poll(self, task_id, **fields):
        return get(self.url, "res.php", key=self.key, action="get", id=task_id, **fields)

    def answer(self, task_id):
        """Polls until the turnstile is solved."""

        def solved():
            reply = self.poll(task_id, json=1).json()
            assert reply["status"] == 1 or reply["request"] == "CAPCHA_NOT_READY", reply
            return reply if reply["status"] == 1 else None

        return Solved("turnstile", task_id, wait_until(solved, "the other solve")["request"], self.tenant)
