"""What is measured at one peer: polls as fast as it answers them, polls at a fixed rate, memory."""
import json
import os
import pathlib
import re
import resource
import socket
import subprocess
import sys
import time

import install
import peers

CONNECTIONS, TASKS = 64, 512
IDLE = [1_000, peers.IDLE_MAX]
BATCH = 100  # connections opened at once: fewer than the shortest queue of a listener
OPEN_BASE, OPEN = 1_000, 100_000
OPEN_RATE = 5_000
MIB = 1 << 20
LOAD_CORE = "1"
LUA = """
local targets = {{}}
for target in io.lines("{targets}") do targets[#targets + 1] = target end
local next_target = 0
request = function()
  next_target = next_target % #targets + 1
  return wrk.format("GET", targets[next_target])
end
"""


def saturated(bench, peer, seconds):
    """Polls as fast as they are answered, over all connections."""
    script = bench.folder / f"{peer.name}.lua"
    script.write_text(LUA.format(targets=polls(bench, peer)))
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency",
               "-s", str(script), f"http://127.0.0.1:{peer.port}"]
    with Account(peer) as account:
        text = output_of(command, peer, seconds)
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"errors under load at {peer.name}:\n{text}")
    requests = int(re.search(r"(\d+) requests in", text)[1])
    account.check_source(requests)
    return dict(
        rate=float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        p50=wrk_latency(text, "50%"),
        p99=wrk_latency(text, "99%"),
        **account.figures(requests),
    )


def at_rate(bench, peer, seconds, rate):
    """Polls that leave on a schedule, each timed from when it was due."""
    with Account(peer) as account:
        figures = scheduled(peer, rate, int(rate * seconds), "CAPCHA_NOT_READY", polls(bench, peer))
    requests = figures["requests"] + CONNECTIONS
    account.check_source(requests)
    return dict(p50=figures["p50"], p99=figures["p99"], **account.figures(requests))


def scheduled(peer, rate, requests, expected, targets):
    """The load by its schedule; one request more on each connection comes first. Its program checks every answer."""
    command = ["taskset", "-c", LOAD_CORE, install.load(), f"127.0.0.1:{peer.port}",
               str(rate), str(requests), str(CONNECTIONS), expected, str(targets)]
    return json.loads(output_of(command, peer, requests / rate))


def output_of(command, peer, seconds):
    """What a load prints; it gets ten times what it takes, and some."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10 * seconds + 30)
    except subprocess.TimeoutExpired as late:
        sys.exit(f"{peer.name} did not serve {seconds:.0f} s of load in {late.timeout:.0f} s")
    if result.returncode:
        sys.exit(f"errors under load at {peer.name}:\n{result.stderr[-2000:]}")
    return result.stdout


def polls(bench, peer):
    """A file of polls, one of each solve. Where solves are looked at, they were submitted."""
    path = bench.folder / f"{peer.name}.polls"
    if not path.exists():
        tasks = [peer.submit() if peer.admin else f"{number:032x}" for number in range(TASKS)]
        path.write_text("".join(peers.poll(peer.key, task) + "\n" for task in tasks))
    return path


def memory(bench, name):
    """Resident memory of a peer that just started: idle, and with connections that made a request each."""
    peer = bench.start(name)
    figures = dict(idle=steady(peer))
    task = peer.submit()
    connections = []
    for number in IDLE:
        while len(connections) < number:
            connections += connect(peer, task, BATCH)
        # Solvegate gives a connection's buffers up after a second.
        time.sleep(2)
        figures[number] = steady(peer)
    closed = sum(not is_open(connection) for connection in connections)
    if closed:
        sys.exit(f"{name} closed {closed} of {len(connections)} idle connections")
    for connection in connections:
        connection.close()
    bench.end([peer.process])
    few, many = IDLE
    return dict(figures, each=(figures[many] - figures[few]) / (many - few))


def open_solves(bench, name):
    """Resident memory of Solvegate with many solves of which none has its answer."""
    peer = bench.start(name)
    target = bench.folder / "submission"
    target.write_text(peers.submission(peer.key) + "\n")
    figures = {}
    for number, already in [(OPEN_BASE, 0), (OPEN, OPEN_BASE)]:
        scheduled(peer, OPEN_RATE, number - already - CONNECTIONS, "OK|", target)
        in_flight = peer.metric("solvegate_solves_in_flight")
        if in_flight != number:
            sys.exit(f"{in_flight:.0f} solves are open, not {number}")
        figures[number] = steady(peer)
    bench.end([peer.process])
    return dict(figures, each=(figures[OPEN] - figures[OPEN_BASE]) / (OPEN - OPEN_BASE))


def connect(peer, task, count):
    """Connections on each of which one poll was answered."""
    connections = [socket.create_connection(("127.0.0.1", peer.port), timeout=10) for _ in range(count)]
    for connection in connections:
        connection.sendall(f"GET {peers.poll(peer.key, task)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    for connection in connections:
        answer = b""
        while not answer.endswith(b"CAPCHA_NOT_READY"):
            part = connection.recv(4096)
            answer += part
            if not part or not answer.startswith(b"HTTP/1.1 200 "[:len(answer)]):
                sys.exit(f"{peer.name} answered a poll with {answer}")
        connection.setblocking(False)
    return connections


def is_open(connection):
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True


def steady(peer):
    """Resident memory, once it stays the same for half a second (or changes for 10 s)."""
    deadline, last = time.monotonic() + 10, None
    while time.monotonic() < deadline:
        now = resident(peer.process.pid)
        if now == last:
            break
        last = now
        time.sleep(0.5)
    return now


def resident(pid):
    """Resident memory of a process and its children, in bytes. What they share counts in each."""
    return sum(
        int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{process}/status").read_text())[1]) * 1024
        for process in tree(pid)
    )


def tree(pid):
    """A process and all its descendants."""
    children = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [pid] + [each for file in children for child in file.read_text().split() for each in tree(int(child))]


def cpu(pid):
    """User and system time of a process and its descendants, in seconds, by the scheduler's own account."""
    return sum(
        int(task.read_text().split()[0])
        for process in tree(pid)
        for task in pathlib.Path(f"/proc/{process}/task").glob("*/schedstat")
    ) / 1e9


class Account:
    """What a peer uses of the processor, and where Solvegate's answers come from, while this is open."""

    def __init__(self, peer):
        self.peer = peer

    def __enter__(self):
        self.sources = self.answered()
        self.begin, self.used = time.monotonic(), cpu(self.peer.process.pid)
        return self

    def __exit__(self, *_):
        self.used = cpu(self.peer.process.pid) - self.used
        self.seconds = time.monotonic() - self.begin

    def figures(self, requests):
        return dict(micros=self.used * 1e6 / requests, cores=self.used / self.seconds)

    def answered(self):
        if not self.peer.admin:
            return {}
        return {
            source: self.peer.metric(f'solvegate_polls_total{{answered_from="{source}"}}')
            for source in ["upstream", "memory"]
        }

    def check_source(self, requests):
        """A refusal is no error to the load: nearly all polls must be counted as answered from where they should."""
        wanted = self.peer.polls_from
        if not wanted:
            return
        counts = {source: count - self.sources[source] for source, count in self.answered().items()}
        strangers = sum(count for source, count in counts.items() if source != wanted)
        if counts[wanted] + strangers < requests or strangers > max(requests / 100, TASKS):
            sys.exit(f"of {requests} polls, {self.peer.name} counted {counts}: they were to come from {wanted}")


class Others:
    """The share of the processors that was used by what the bench did not start, while this is open."""

    def __init__(self, bench):
        self.bench, self.kernel = bench, softirq_threads()

    def __enter__(self):
        self.begin = time.monotonic(), busy(), self.own()
        return self

    def __exit__(self, *_):
        seconds, all_of_it, own = (
            now - before for now, before in zip((time.monotonic(), busy(), self.own()), self.begin, strict=True)
        )
        self.share = max(0.0, (all_of_it - own) / seconds / os.cpu_count())

    def own(self):
        ended = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        # The kernel's own threads for packets work for the loopback, which is the bench's.
        running = sum(cpu(pid) for pid in [process.pid for process in self.bench.processes] + self.kernel)
        return running + sum(usage.ru_utime + usage.ru_stime for usage in ended)


def softirq_threads():
    return [int(comm.parent.name) for comm in pathlib.Path("/proc").glob("[0-9]*/comm") if is_softirq(comm)]


def is_softirq(comm):
    try:
        return comm.read_text().startswith("ksoftirqd/")
    except OSError:  # that process has ended
        return False


def busy():
    """Seconds of work on all processors since the machine started, other machines' on the same ones included."""
    user, nice, system, _, _, *interrupts_and_steal = map(
        int, pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )
    return (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")


def wrk_latency(text, share):
    """In microseconds."""
    value, unit = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def keep_awake(bench):
    """Starts one that spins on each core whenever nothing else runs there: an idle core clocks down and sleeps."""
    spin = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"
    spinners = [
        subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", spin]) for core in range(os.cpu_count())
    ]
    bench.processes.extend(spinners)
    return spinners
