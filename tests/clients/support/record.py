"""The sidecar's record, read with SQL after it has stopped."""

import sqlite3
from collections import namedtuple

Charge = namedtuple("Charge", "tenant task_id micros")
Solve = namedtuple("Solve", "tenant captcha_type outcome task_id charged delivered")


class Record:
    def __init__(self, path):
        self.path = path

    def rows(self, query):
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def charges(self):
        """What each tenant paid, and for which task."""
        rows = self.rows("SELECT tenant, task_id, amount FROM ledger WHERE kind = 'charge'")
        return sorted(Charge(tenant, task_id, -amount) for tenant, task_id, amount in rows)

    def solves(self):
        rows = self.rows("SELECT tenant, captcha_type, outcome, task_id, charged, delivered FROM solves")
        return [
            Solve(tenant, captcha_type, outcome, task_id, bool(charged), bool(delivered))
            for tenant, captcha_type, outcome, task_id, charged, delivered in rows
        ]

    def bytes(self):
        """The files as they lie on the disk."""
        return b"".join(path.read_bytes() for path in sorted(self.path.parent.glob(self.path.name + "*")))
