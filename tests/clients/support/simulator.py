"""`solvegate simulate-provider`: its command line and its control API, each word of them once."""

import json

from .process import Process
from .wire import http

DOWN = {"mode": "reset"}


def command_line(account_key, threads, balance, solve_time):
    return [
        *"simulate-provider --listen 127.0.0.1:0 --seed 7 --jitter 0".split(),
        *("--solve-time", solve_time),
        *("--account", f"{account_key},threads={threads},balance={balance}"),
    ]


def page(solve="150ms", error=None):
    """A page URL (for images: the instructions) that sets time and outcome of its solve."""
    return f"https://sim.test/?solve={solve}" + (f"&error={error}" if error else "")


class Simulator(Process):
    def __init__(self, directory, account_key, threads=100, balance="77.77", solve_time="150ms"):
        super().__init__(
            "simulate-provider", command_line(account_key, threads, balance, solve_time), directory
        )
        self.url = self.address(r"listening on (http://[^\s\"/]+)")

    def control(self, method, what, body=None):
        payload = json.dumps(body).encode() if body is not None else None
        reply = http(method, f"{self.url}/-/{what}", payload, {"Content-Type": "application/json"})
        assert reply.status in (200, 201, 202, 204), f"{method} /-/{what}: {reply}"
        return reply.text

    def down(self):
        """The provider stops answering; the control API goes on."""
        self.control("POST", "down", DOWN)

    def up(self):
        self.control("POST", "up")

    def log(self):
        """Every request that reached the provider, as text."""
        return self.control("GET", "log")

    def submissions(self):
        """How many submissions the provider received and answered."""
        entries = json.loads(self.log())
        entries = [entry for entry in entries if entry["operation"] in ("submit", "solve")]
        return sum(entry["answer"] is not None for entry in entries)

    def tasks(self):
        """Every accepted solve as `(id, captcha type)`."""
        return [(task["id"], task["captcha_type"]) for task in json.loads(self.control("GET", "tasks"))]


class Outage:
    """Takes the provider down at the library's next sleep, and up again `seconds` of its time later."""

    def __init__(self, simulator, clock, seconds):
        self.simulator = simulator
        self.clock = clock
        self.seconds = seconds
        self.started_at = None
        self.over = False
        clock.before_sleep = self.step

    def step(self):
        if self.started_at is None:
            self.simulator.down()
            self.started_at = self.clock.elapsed
        elif not self.over and self.clock.elapsed - self.started_at >= self.seconds:
            self.simulator.up()
            self.over = True
