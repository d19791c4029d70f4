"""The binary at work under what the unit promises: its messages to systemd, its system calls, its health check."""

import contextlib
import re
import signal
import socket
import subprocess
import time
import urllib.request

from tree import binary, config_text, free_port, run, usable

PATIENCE = 60


def until(what, condition):
    """Waits for a condition; how long does not matter on an idle machine."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE} s for {what}")
        time.sleep(0.02)
    return value


class Live:
    """The config of the unit on ports and paths of its own, with a socket where systemd listens."""

    def __init__(self, root, folder, wrap=()):
        self.messages = []
        self.admin = f"http://127.0.0.1:{free_port()}"
        text = re.sub(r"127\.0\.0\.1:8080", "127.0.0.1:0", config_text(root, "systemd"))
        text = text.replace("127.0.0.1:9465", self.admin.removeprefix("http://"))
        text = text.replace("/var/lib/solvegate/", f"{folder}/") + "upstream: { url: 'http://127.0.0.1:9' }\n"
        self.config = usable(text, folder)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify"))
        self.notify.setblocking(False)
        self.log = open(folder / "log", "w+")
        self.child = subprocess.Popen(
            [*wrap, binary(), "run", "--config", str(self.config)], cwd=folder, stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=subprocess.STDOUT, env={"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(folder / "notify")})

    def said(self):
        """Everything said to systemd so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.messages += self.notify.recv(4096).decode().splitlines()
        return self.messages

    def get(self, path):
        token = (self.config.parent / "admin_token").read_text().strip()
        request = urllib.request.Request(self.admin + path, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.read().decode()
        except OSError:
            assert self.child.poll() is None, f"it ended: {open(self.log.name).read()}"
            return None

    def reloads(self):
        metric = "solvegate_config_last_reload_success_timestamp_seconds "
        return next(float(line.removeprefix(metric)) for line in self.get("/metrics").splitlines() if line.startswith(metric))

    def work(self):
        """Ready, a submission that reaches no provider, a reload by SIGHUP."""
        until("/readyz", lambda: self.get("/readyz"))
        data = until("its address", lambda: re.search(r"listening on (http://\S+)", open(self.log.name).read()))[1]
        key = (self.config.parent / "acme_key").read_text().strip()
        urllib.request.urlopen(f"{data}/in.php?key={key}&method=turnstile&sitekey=x&pageurl=http://a.example",
                               timeout=PATIENCE).read()
        before = self.reloads()

        def reloaded():
            # Again each time: the metric has whole seconds, and the first reload may fall into that of the start.
            self.child.send_signal(signal.SIGHUP)
            return self.reloads() > before

        until("the reload", reloaded)

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        code = self.child.wait(PATIENCE)
        assert code == 0, f"exit code {code}: {open(self.log.name).read()}"


@contextlib.contextmanager
def live(root, folder, wrap=()):
    process = Live(root, folder, wrap)
    try:
        yield process
    finally:
        if process.child.poll() is None:
            process.child.kill()
            process.child.wait()
        process.notify.close()
        process.log.close()


def system_calls(root, folder):
    """The names of all system calls of a life."""
    summary = folder / "calls"
    # -D: the process started here is the sidecar itself, so that signals reach it and not strace.
    with live(root, folder, ["strace", "-D", "-f", "-qq", "-c", "-o", str(summary)]) as process:
        process.work()
        process.end()
    text = until("strace", lambda: summary.exists() and " total" in summary.read_text() and summary.read_text())
    rows = text.split("-\n", 1)[1].splitlines()
    return {row.split()[-1] for row in rows if row.split() and row.split()[0][0].isdigit()} - {"total"}


def allowed_calls(filters):
    """What SystemCallFilter= lines leave, in the order they stand."""

    def expand(name):
        if not name.startswith("@"):
            return {name}
        code, said = run("systemd-analyze", "syscall-filter", name)
        assert code == 0, said
        rows = [line.strip() for line in said.splitlines()[1:]]
        return set().union(*(expand(row) for row in rows if row and not row.startswith("#")))

    allowed = set()
    for line in filters:
        for name in line.removeprefix("~").split():
            allowed = allowed - expand(name) if line.startswith("~") else allowed | expand(name)
    # systemd always allows what a process needs to be started and to end.
    return allowed | expand("@default") if filters else allowed
