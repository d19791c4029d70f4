"""Starts a simulated provider and a sidecar, sends some traffic, and lets schemathesis loose on the API."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "api-test-token"
ACCOUNT = "simulated0account0key00000000000"
KEYS = {"acme": "acme0key000000000000000000000000", "zen": "zen00key000000000000000000000000"}
SECONDS = 60
PATIENCE = 60


def binary():
    given = os.environ.get("SOLVEGATE_BIN")
    places = [ROOT / "target" / profile / "solvegate" for profile in ("release", "debug")]
    return given or next(str(place) for place in places if place.exists())


class Process:
    """A child that says where it listens."""

    def __init__(self, arguments, folder):
        self.log = open(folder / f"{arguments[0]}.log", "w+")
        self.child = subprocess.Popen(
            [binary(), *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=self.log, text=True
        )

    def address(self, prefix):
        for line in self.child.stdout:
            if line.startswith(prefix):
                return line[len(prefix):].strip()
        raise SystemExit(f"it does not start: {self.said()}")

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(timeout=PATIENCE)


def ask(url):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read().decode()


def config(folder, upstream):
    path = folder / "solvegate.yaml"
    path.write_text(
        f"listen: 127.0.0.1:0\n"
        f"admin: {{ listen: 127.0.0.1:0, token: {TOKEN} }}\n"
        f"upstream: {{ url: '{upstream}', poll_spacing: 0s }}\n"
        f"accounts: {{ main: {{ key: {ACCOUNT}, plan: {{ monthly_cost: 30, threads: 15 }} }} }}\n"
        f"tenants:\n"
        f"  acme: {{ prepaid: {{ opening_balance: 10 }}, keys: {{ prod: {{ key: {KEYS['acme']} }} }} }}\n"
        f"  zen: {{ daily_limit: 2, keys: {{ prod: {{ key: {KEYS['zen']} }} }} }}\n"
    )
    return path


def traffic(data, admin):
    """Solves and refusals of both tenants, so that every list has something in it."""
    for tenant, key in KEYS.items():
        for number in range(6):
            page = urllib.parse.quote(f"https://sim.test/?answer=a{number}&solve=0")
            query = f"key={key}&method=turnstile&sitekey=s&pageurl={page}"
            answer = ask(f"{data}/in.php?{query}")
            deadline = time.monotonic() + PATIENCE
            while answer.startswith("OK|"):
                if ask(f"{data}/res.php?key={key}&action=get&id={answer[3:]}").startswith("OK|"):
                    break
                assert time.monotonic() < deadline, "never solved"
                time.sleep(0.05)
    deadline = time.monotonic() + PATIENCE
    while len(json.loads(ask(f"{admin}/api/v1/solves"))["solves"]) < 8:
        assert time.monotonic() < deadline, "never on record"
        time.sleep(0.05)


def schemathesis(admin, folder):
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "--config-file", str(ROOT / "tests" / "api" / "schemathesis.toml"),
            "run", f"{admin}/api/v1/openapi.json",
            "--url", f"{admin}/api/v1",
            "--header", f"Authorization: Bearer {TOKEN}",
            "--max-time", str(SECONDS),
            "--seed", "1",
            "--no-color",
        ],
        cwd=folder,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS * 5,
    )


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        provider = Process(["simulate-provider", "--listen", "127.0.0.1:0"], folder)
        upstream = provider.address("simulate-provider listening on ")
        sidecar = Process(["run", "--config", str(config(folder, upstream))], folder)
        data = sidecar.address("listening on ")
        admin = sidecar.address("admin on ")
        try:
            traffic(data, admin)
            done = schemathesis(admin, folder)
        finally:
            ended = sidecar.stop()
            provider.child.kill()
        print(done.stdout)
        text = done.stdout
        tested = re.search(r"Tested: (\d+)", text) or re.search(r"(\d+) operations", text)
        passed = int(tested.group(1)) if tested else 0
        clean = ended == 0 and "panicked" not in sidecar.said()
        failed = 0 if done.returncode == 0 and passed > 15 and clean else 1
        if not clean:
            print(f"the sidecar ended with {ended}:\n{sidecar.said()[-2000:]}")
        print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed")
        return failed


if __name__ == "__main__":
    sys.exit(main())
