"""One process under test: started, read line by line, stopped with SIGTERM."""

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def binary():
    """SOLVEGATE_BIN, else the release build, else the debug build."""
    given = os.environ.get("SOLVEGATE_BIN")
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    candidates = [Path(given)] if given else [target / "release/solvegate", target / "debug/solvegate"]
    for candidate in candidates:
        if candidate.exists():
            return str(candidate)
    raise FileNotFoundError(f"no solvegate binary: {', '.join(map(str, candidates))}")


class Process:
    """Reads stdout and stderr together; both the addresses and the logs are found there."""

    def __init__(self, name, arguments, directory):
        self.name = name
        self.lines = []
        self.news = threading.Condition()
        self.child = subprocess.Popen(
            [binary(), *arguments],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.child.stdout:
            with self.news:
                self.lines.append(ANSI.sub("", line.decode("utf-8", "replace")).rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.lines.append("<end of output>")
            self.news.notify_all()

    def address(self, pattern, seconds=20.0):
        """The first group of the first line that matches `pattern`."""

        def found():
            for line in self.lines:
                if match := re.search(pattern, line):
                    return match[1]
            return "" if self.lines and self.lines[-1] == "<end of output>" else None

        with self.news:
            self.news.wait_for(lambda: found() is not None, seconds)
            address = found()
        assert address, f"{self.name} never printed `{pattern}`; it said:\n{self.output()}"
        return address

    def output(self):
        return "\n".join(self.lines)

    def stop(self, seconds=15.0):
        """SIGTERM; returns the exit code."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} ignored SIGTERM for {seconds} s:\n{self.output()}") from None
        self.reader.join(5)
        return code

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
