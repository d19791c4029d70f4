"""Early delivery, measured with unmodified clients; see `run` beside it."""

import argparse
import asyncio
import json
import os
import pathlib
import random
import ssl
import statistics
import sys
import tempfile
import threading
import time
from urllib.parse import urlsplit

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/clients"))

import captchaai
from twocaptcha import TwoCaptcha

from support.certificates import make_certificates
from support.sidecar import Sidecar, config
from support.simulator import Simulator, page
from support.wire import get

ACCOUNT, TENANT = "account0early".ljust(32, "0"), "tenant0early".ljust(32, "0")
# Ready this long after the submission: later than any client's first poll, over many of its rounds.
FIRST, OVER = 16, 45
DIRECT, HELD = "direct", "hold_polls 4s"
UPSTREAMS = {
    "hold_polls off": {},
    HELD: {"hold_polls": "4s"},
    f"{HELD}, poll_spacing 500ms": {"hold_polls": "4s", "poll_spacing": "500ms"},
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--solves", type=int, default=60)
    solves = parser.parse_args().solves
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        try:
            results = measure(pathlib.Path(folder), solves, processes)
        finally:
            for process in reversed(processes):
                process.kill()
    gained = show(results)
    sys.exit(0 if gained else 1)


def measure(folder, solves, processes):
    """Delays in seconds and polls at the provider for each (client, way)."""
    certificates = make_certificates(folder)
    os.environ["REQUESTS_CA_BUNDLE"] = str(certificates.authority)
    simulator = Simulator(folder, ACCOUNT, threads=10_000, balance="10000")
    processes.append(simulator)
    places = {DIRECT: (simulator.url, tls_front(simulator.url, certificates), ACCOUNT)}
    for number, (way, upstream) in enumerate(UPSTREAMS.items()):
        directory = folder / str(number)
        directory.mkdir()
        tenants = {"early": (TENANT, {})}
        settings = config(simulator.url, ACCOUNT, tenants, certificates, directory / "solvegate.db")
        settings["upstream"] = {"url": simulator.url, **upstream}
        sidecar = Sidecar(directory, settings)
        processes.append(sidecar)
        places[way] = (sidecar.http, sidecar.https, TENANT)
    began = simulation_began(simulator)
    chance = random.Random(7)
    ready = [FIRST + OVER * (number + chance.random()) / solves for number in range(solves)]
    received = solve_all(places, ready)
    tasks = {task["id"]: task for task in json.loads(simulator.control("GET", "tasks"))}
    results = {}
    for run, solved in received.items():
        assert len(solved) == solves, f"{run}: {solves - len(solved)} failed"
        delays = [at - began - tasks[task]["ready_ms"] / 1000 for task, at in solved]
        assert min(delays) > -0.05, f"{run}: an answer before it was ready"
        results[run] = delays, statistics.mean(tasks[task]["polls"] for task, _ in solved)
    return results


def simulation_began(simulator):
    """The wall-clock time from which the provider counts its milliseconds."""
    guesses = []
    for _ in range(20):
        before = time.time()
        fields = {"key": ACCOUNT, "method": "turnstile", "sitekey": "s", "pageurl": page(), "json": 1}
        task = str(get(simulator.url, "in.php", **fields).json()["request"])
        guesses.append((time.time() - before, (time.time() + before) / 2, task))
    _, at, task = min(guesses)
    tasks = json.loads(simulator.control("GET", "tasks"))
    return at - next(one["submitted_ms"] for one in tasks if one["id"] == task) / 1000


def solve_all(places, ready):
    """(task, time in the client's hands) of every solve, by (client, way)."""
    received = {(client, way): [] for client in CLIENTS for way in places}

    def solve(client, way, seconds):
        http, https, key = places[way]
        url = page(f"{round(seconds * 1000)}ms")
        task = CLIENTS[client](key, http, https, url)
        received[client, way].append((str(task), time.time()))

    threads = [
        threading.Thread(target=solve, args=(*run, seconds)) for run in received for seconds in ready
    ]
    for thread in threads:
        thread.start()
        # Not all in the same instant, so that the machine is not what is measured.
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    return received


def official_sdk(key, http, https, url):
    return captchaai.CaptchaAI(api_key=key, base_url=http).turnstile("0x4AAA", url).task_id


def two_captcha(key, http, https, url):
    return TwoCaptcha(key, server=https.removeprefix("https://")).turnstile("0x4AAA", url)["captchaId"]


CLIENTS = {"captchaai (official SDK)": official_sdk, "2captcha-python": two_captcha}


def tls_front(url, certificates):
    """TLS before the provider, for the client that speaks https only."""
    provider = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    started = threading.Event()
    ports = []

    async def copy(reader, writer):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    async def connected(reader, writer):
        upstream, to_upstream = await asyncio.open_connection(provider.hostname, provider.port)
        await asyncio.gather(copy(reader, to_upstream), copy(upstream, writer), return_exceptions=True)

    async def serve():
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    assert started.wait(10), "no TLS before the provider"
    return f"https://127.0.0.1:{ports[0]}"


def show(results):
    print("From ready at the provider to the client's hands, in seconds:\n")
    print("| client | way | solves | median | middle half | longest | polls a solve at the provider |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for (client, way), (delays, polls) in results.items():
        lower, median, upper = statistics.quantiles(delays, n=4)
        print(
            f"| {client} | {way} | {len(delays)} | {median:.2f} | {lower:.2f} to {upper:.2f} "
            f"| {max(delays):.2f} | {polls:.1f} |"
        )
    median = {run: statistics.median(delays) for run, (delays, _) in results.items()}
    return all(median[client, HELD] < median[client, DIRECT] for client in CLIENTS)


if __name__ == "__main__":
    main()
