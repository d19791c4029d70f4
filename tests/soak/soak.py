"""The sidecar under steady load for a long time: its memory and descriptors stay flat, its books are right.

What memory may grow by: for ten minutes a settled solve is remembered, so that a late poll gets its
answer again. These are counted in the record (`tasks`), and REMEMBERED_BYTES for each is taken off; for
the most there were so far, as an allocator does not give back what it may need again. What is left
must not grow after the warm-up: a line is laid through it (least squares), and may climb by
GROWTH_MAX over the whole window that was watched. The record itself grows on the disk; that is its job.
"""

import argparse
import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from clients import Clients

ACCOUNT = "soak0account0key0000000000000000"
OPENING_MICROS, PRICE_MICROS = 100_000_000_000, 3_000
# Longer than any solve takes; what is never answered is forgotten after this, and its hold given back.
FORGET_AFTER = 15
REMEMBERED_BYTES = 900
GROWTH_MAX = (8 << 20, 0.06)
SOCKETS_GROWTH_MAX = (24, 0.1)
# Twice as long as a settled solve is remembered: a table whose places fill with those of erased entries
# doubles once more after its entries have become as many as they will be.
WARM_UP_SECONDS = 1200
# Less, and it was no test of that rate.
RATE_KEPT_MIN = 0.9
# Longer than anything that is waited for takes, also on a busy machine.
PATIENCE = 120


@dataclass
class Sample:
    at: float
    rss: int
    descriptors: int
    sockets: int
    open: float
    held: float
    remembered: int
    store: float
    lag: float

    @property
    def accounted(self):
        """Bytes in memory, without those of solves that are remembered on purpose."""
        return self.rss - REMEMBERED_BYTES * self.remembered


class Process:
    def __init__(self, binary, arguments, directory, name):
        self.log = directory / f"{name}.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [binary, *arguments],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "RUST_LOG": "warn"},
            )

    def address(self):
        line = self.child.stdout.readline()
        assert "http://" in line, f"it did not start: {line}{self.log.read_text()}"
        return line.split("http://")[1].strip()

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        code = self.child.wait(PATIENCE)
        assert code == 0, f"exit code {code}: {self.log.read_text()[-2000:]}"


def config(provider, keys):
    tenants = "\n".join(
        f"  {tenant(number)}: {{ prepaid: {{ opening_balance: {OPENING_MICROS // 1_000_000} }}, "
        f"keys: {{ prod: {{ key: {key} }} }} }}"
        for number, key in enumerate(keys)
    )
    return (
        f"listen: 127.0.0.1:0\nadmin: {{ listen: '127.0.0.1:0' }}\n"
        f"upstream: {{ url: 'http://{provider}', forget_after: {FORGET_AFTER}s }}\n"
        f"accounts: {{ main: {{ key: {ACCOUNT}, threads: 100000, balance_precheck: false }} }}\n"
        f"prices: {{ default: {PRICE_MICROS / 1e6:.6f} }}\n"
        f"slo: {{ default: {{ deadline: 10s }} }}\n"
        f"state: {{ path: solvegate.db }}\nshutdown_grace: 20s\ntenants:\n{tenants}\n"
    )


def tenant(number):
    return f"tenant{number:03}"


class Watch(threading.Thread):
    """Takes a sample every few seconds, on a thread of its own: a busy client must not delay it."""

    def __init__(self, pid, admin, record, every):
        super().__init__(daemon=True)
        self.pid, self.admin, self.record, self.every = pid, admin, record, every
        self.samples, self.failure = [], None
        self.over = threading.Event()

    def run(self):
        begin = time.monotonic()
        print(f"{'s':>6} {'RSS MiB':>8} {'accounted':>9} {'fds':>5} {'open':>6} {'kept':>7} {'store MiB':>9} {'lag s':>6}")
        try:
            while not self.over.wait(self.every):
                sample = self.take(time.monotonic() - begin)
                self.samples.append(sample)
                print(
                    f"{sample.at:6.0f} {sample.rss / 2**20:8.1f} {sample.accounted / 2**20:9.1f} "
                    f"{sample.descriptors:5} {sample.open:6.0f} {sample.remembered:7} "
                    f"{sample.store / 2**20:9.1f} {sample.lag:6.2f}",
                    flush=True,
                )
        except Exception as error:
            self.failure = error

    def take(self, at):
        remembered = query(self.record, "SELECT count(*) FROM tasks")[0][0]
        status = Path(f"/proc/{self.pid}/status").read_text()
        # What is closed while they are listed is none of them.
        links = [target for path in Path(f"/proc/{self.pid}/fd").iterdir() if (target := link(path))]
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=PATIENCE) as answer:
            metrics = answer.read().decode()
        return Sample(
            at=at,
            rss=int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024,
            descriptors=len(links),
            sockets=sum(target.startswith("socket:") for target in links),
            open=total(metrics, "solvegate_solves_in_flight"),
            held=total(metrics, "solvegate_tenant_held_usd"),
            remembered=max(remembered, *(sample.remembered for sample in self.samples[-1:]), 0),
            store=total(metrics, "solvegate_store_size_bytes"),
            lag=total(metrics, "solvegate_store_lag_seconds"),
        )


def link(path):
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def total(metrics, name):
    values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", metrics, re.MULTILINE)
    assert values, f"no metric {name}"
    return sum(map(float, values))


def query(record, sql):
    connection = sqlite3.connect(f"file:{record}?mode=ro", uri=True, timeout=PATIENCE)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def slope(points):
    """Of the line with the least squares, per second."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, is_right, said):
        self.passed += is_right
        self.failed += not is_right
        print(f"{'ok    ' if is_right else 'FAILED'} {what}: {said}")

    def flat(self, samples):
        # The first is warm-up: pools, caches, buffers and tables reach their size.
        warm = min(WARM_UP_SECONDS, samples[-1].at / 2)
        samples = [sample for sample in samples if sample.at >= warm]
        window = samples[-1].at - samples[0].at
        climbed = slope([(sample.at, sample.accounted) for sample in samples]) * window
        allowed = max(GROWTH_MAX[0], GROWTH_MAX[1] * samples[0].rss)
        self.check(
            "memory is flat",
            climbed <= allowed,
            f"{climbed / 2**20:+.1f} MiB in {window:.0f} s with {REMEMBERED_BYTES} bytes for each "
            f"remembered solve taken off; {allowed / 2**20:.1f} allowed",
        )
        # Descriptors other than sockets; how many of those there are is the clients' doing.
        files = [sample.descriptors - sample.sockets for sample in samples]
        sockets = slope([(sample.at, sample.sockets) for sample in samples]) * window
        most = max(sample.sockets for sample in samples)
        self.check(
            "descriptors are flat",
            max(files) - min(files) <= 2 and sockets <= max(SOCKETS_GROWTH_MAX[0], SOCKETS_GROWTH_MAX[1] * most),
            f"{min(files)} to {max(files)} files, sockets {sockets:+.1f} by the line, at most {most}",
        )

    def ended(self, begin, end):
        self.check(
            "nothing is open or held at the end", end.open == end.held == 0, f"{end.open:.0f}, ${end.held}"
        )
        self.check(
            "all descriptors are given back",
            end.descriptors <= begin.descriptors,
            f"{begin.descriptors} before, {end.descriptors} after",
        )

    def books(self, record, clients, left):
        charges, doubled, strange = {}, [], []
        rows = query(record, "SELECT task_id, tenant, -amount FROM ledger WHERE kind = 'charge'")
        for task, name, micros in rows:
            if task in charges:
                doubled.append(task)
            charges[task] = name
            whose = clients.delivered.get(task) or clients.perhaps.get(task)
            if whose is None or (name, micros) != (tenant(whose[0]), PRICE_MICROS):
                strange.append((task, name, micros, whose))
        lost = [task for task in clients.delivered if task not in charges]
        self.check(
            "what was delivered was charged, once, and nothing else",
            clients.delivered and not (doubled or strange or lost),
            f"{len(clients.delivered)} delivered, {len(rows)} charged (of {len(clients.perhaps)} that "
            f"may have been delivered, {len(rows) - len(clients.delivered)}); "
            f"doubled {doubled[:3]}, strange {strange[:3]}, not charged {lost[:3]}",
        )
        logged = query(record, "SELECT task_id FROM solves WHERE task_id IS NOT NULL")
        self.check(
            "each solve has one row in the log",
            len(set(logged)) == len(logged) and {task for (task,) in logged} >= set(charges),
            f"{len(logged)} rows",
        )
        spent = Counter()
        for _, name, micros in rows:
            spent[name] += micros
        wrong = [
            (tenant(number), micros, spent[tenant(number)])
            for number, micros in enumerate(left)
            if micros != OPENING_MICROS - spent[tenant(number)]
        ]
        self.check("what a tenant has left is its opening less its charges", not wrong, f"wrong: {wrong[:3]}")

    def clients(self, options, clients):
        count = clients.count
        kept = count["paced requests"] / (options.rate * options.seconds)
        self.check(
            "the rate was kept",
            kept >= RATE_KEPT_MIN,
            f"{kept:.1%} of {options.rate}/s; {count['submissions']} submissions, {count['hang-ups']} hang-ups, "
            f"{count['connections']} connections",
        )
        self.check("no client met an error", not clients.faults, "\n  ".join([str(count["faults"]), *clients.faults]))
        times = sorted(clients.latencies)
        print(f"latency p50 {times[len(times) // 2] * 1e3:.1f} ms, p99 {times[len(times) * 99 // 100] * 1e3:.1f} ms")


def balances(address, keys):
    """What each tenant has left by its own word, in micro-dollars."""
    left = []
    for key in keys:
        url = f"http://{address}/res.php?key={key}&action=getbalance"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            left.append(round(float(answer.read()) * 1e6))
    return left


def settled(watch, begin):
    """Waits until nothing is open or held, and as few descriptors are left as before the first client."""
    deadline = time.monotonic() + PATIENCE
    while True:
        sample = watch.take(0)
        is_settled = sample.open == sample.held == 0 and sample.descriptors <= begin.descriptors
        if is_settled or time.monotonic() > deadline:
            return sample
        time.sleep(0.5)


def run(options, directory):
    keys = [f"soak0tenant{number:021}" for number in range(options.tenants)]
    provider = Process(
        options.binary,
        ["simulate-provider", "--listen", "127.0.0.1:0", "--log-max", "0", "--jitter", "0"]
        + ["--account", f"{ACCOUNT},threads=100000,balance=1000000"],
        directory,
        "provider",
    )
    sidecar = None
    try:
        (directory / "solvegate.yaml").write_text(config(provider.address(), keys))
        sidecar = Process(options.binary, ["run", "--config", "solvegate.yaml"], directory, "sidecar")
        data, admin = sidecar.address(), sidecar.address()
        record = directory / "solvegate.db"
        every = min(10.0, max(1.0, options.seconds / 60))
        watch = Watch(sidecar.child.pid, admin, record, every)
        begin = watch.take(0)
        watch.start()
        clients = Clients(data, keys, options.rate)
        asyncio.run(clients.work(options.seconds))
        watch.over.set()
        watch.join()
        if watch.failure:
            raise watch.failure
        end = settled(watch, begin)
        left = balances(data, keys)
        sidecar.stop()
        checks = Checks()
        checks.flat([sample for sample in watch.samples if sample.at <= options.seconds])
        checks.ended(begin, end)
        checks.books(record, clients, left)
        checks.clients(options, clients)
        log = sidecar.log.read_text()
        checks.check("no panic in the log", "panicked" not in log, log[-300:].strip() or "empty")
        word = "FAILED" if checks.failed else "ok"
        print(f"test result: {word}. {checks.passed} passed; {checks.failed} failed; soak")
        return checks.failed == 0
    finally:
        for process in (sidecar, provider):
            if process and process.child.poll() is None:
                process.child.kill()
                process.child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rate", type=int, default=300)
    parser.add_argument("--tenants", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        sys.exit(0 if run(options, Path(directory)) else 1)


if __name__ == "__main__":
    main()
