"""What the tests ask of every client, whatever its library calls it."""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

SITE_KEY = "6Le-SITEKEY-of-the-test"


@dataclass(frozen=True)
class Place:
    """Where a client runs: which sidecar, with which key, on which clock."""

    http: str
    https: str
    key: str
    tenant: str
    authority: Path
    directory: Path
    clock: object
    traffic: object


class Driver(ABC):
    """One library, used as its own documentation says."""

    name: str
    kinds: tuple = ()
    form = "json"
    has_balance = True
    has_report = False
    checks_key_length = False

    def __init__(self, place):
        self.place = place

    @property
    def usual(self):
        """The kind used where any would do."""
        return self.kinds[0]

    @abstractmethod
    def solve(self, kind, page):
        """Submits, waits, and returns a `Solved`; the library's own error otherwise."""

    @abstractmethod
    def fetch(self, kind, task_id):
        """Waits for a task that was submitted elsewhere."""

    @abstractmethod
    def refusal(self, code):
        """The exception class, and a pattern of its text, by which the library reports a code."""

    def balance(self):
        raise NotImplementedError

    def report(self, task_id):
        raise NotImplementedError

    def is_answer(self, answer, body):
        """Whether `answer` is what the provider's `body`, asked for in the same form, holds."""
        if self.form == "text":
            return body == f"OK|{answer}"
        fields = json.loads(body)
        given = fields.get("request", fields.get("result"))
        return given == answer or (isinstance(given, str) and not isinstance(answer, str) and json.loads(given) == answer)


class Refused(Exception):
    """What a client without exceptions of its own raises here; the text is the provider's code."""
