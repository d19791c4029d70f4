"""A Prometheus that holds what the generator wrote."""

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

START = 1_767_225_600  # as in generator/main.rs
DAY = 86_400
POINTS_MAX = 10_000  # Prometheus refuses more than 11,000 a series
READY_WITHIN = 120


def generate(generator: Path, jobs, folder: Path):
    """Lets the generator play the jobs, two at a time."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    def play(job):
        line = json.dumps(job)
        subprocess.run([generator, folder], input=line, text=True, check=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(play, jobs))


def load(folder: Path):
    """Puts what lies in FOLDER/<part>/<day>.om into FOLDER/data, and removes it."""
    for day in sorted({part.name for part in folder.glob("*/*.om")}):
        whole = folder / day
        with whole.open("wb") as out:
            for part in sorted(folder.glob(f"*/{day}")):
                out.write(part.read_bytes())
                part.unlink()
            out.write(b"# EOF\n")
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=24h"]
        subprocess.run([*command, whole, folder / "data"], check=True, stdout=subprocess.DEVNULL)
        whole.unlink()


def write_back(name, series, folder: Path):
    """Writes the values of a recorded name as the rule would have recorded them, for `load`."""
    for labels, values in series.items():
        times = sorted(values)
        # A gap would need a stale marker, which this format does not have.
        assert times == list(range(times[0], times[-1] + 1, 60)), (name, labels)
        labels = ",".join(f'{label}="{value}"' for label, value in labels)
        of_day = {}
        for at in times:
            of_day.setdefault((at - START) // DAY, []).append(f"{name}{{{labels}}} {values[at]!r} {at}\n")
        for day, lines in of_day.items():
            with (folder / f"{day:03}.om").open("a") as out:
                out.writelines(lines)


class Server:
    def __init__(self, folder: Path):
        load(folder)
        self.data = folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = folder / "prometheus.yml"
        config.write_text("global: {}\n")
        self.log = (folder / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={self.data}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--storage.tsdb.retention.time=100d",
                # Equal: no compaction, which would only cost time.
                "--storage.tsdb.min-block-duration=2h",
                "--storage.tsdb.max-block-duration=2h",
                "--query.timeout=30m",
                "--query.max-samples=500000000",
            ],
            stdout=self.log,
            stderr=self.log,
        )

    def __enter__(self):
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                self.get("/-/ready")
                return self
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise RuntimeError(f"Prometheus did not start; see {self.log.name}") from error
                time.sleep(0.1)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def get(self, path, **query):
        data = urllib.parse.urlencode(query).encode() or None
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", data, timeout=1800) as answer:
            return answer.read()

    def over(self, expr, start, end, step):
        """The values of an expression from start to end, both included: {labels: {time: value}}."""
        series = {}
        for begin in range(start, end + 1, step * POINTS_MAX):
            until = min(end, begin + step * (POINTS_MAX - 1))
            answer = json.loads(self.get("/api/v1/query_range", query=expr, start=begin, end=until, step=step))
            for one in answer["data"]["result"]:
                labels = tuple(sorted(one["metric"].items()))
                values = series.setdefault(labels, {})
                values.update((int(at), float(value)) for at, value in one["values"])
        return series
