"""The proxies that are compared, and the provider's stub behind all of them: what they are told, how they are
started and ended."""
import dataclasses
import itertools
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import install

# Whatever the environment says of a proxy for the network: this is loopback.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
KEY, TENANT_KEY = "account0key000000000000000000000", "tenant0key0000000000000000000000"
IDLE_MAX = 10_000  # connections of clients that each proxy is to hold
ROOM = IDLE_MAX + 1_000  # connections that it is made for; nginx closes idle ones when a sixteenth is left
START_SECONDS = 60

STUB = """
worker_processes 1; daemon off; error_log /dev/null; pid {folder}/pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type text/plain;
  {temp}
  server {{
    listen 127.0.0.1:{port};
    location = /in.php {{ return 200 "OK|$request_id"; }}
    location = /res.php {{
      if ($request_method = POST) {{ return 200 '{{"status":1,"threads":100000,"working_threads":0}}'; }}
      return 200 "CAPCHA_NOT_READY";
    }}
  }}
}}
"""
NGINX = """
worker_processes {workers}; daemon off; error_log /dev/null; pid {folder}/pid;
events {{ worker_connections {connections}; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  {temp}
  {zone}
  upstream stub {{ server 127.0.0.1:{stub}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ {limit} proxy_pass http://stub; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
NGINX_LIMIT = dict(
    zone="limit_req_zone $arg_key zone=keys:10m rate=1000000r/s;",
    limit="limit_req zone=keys burst=100000 nodelay;",
)
# Two descriptors for each connection may be more than there are: idle ones need but one.
HAPROXY = """
global
  nbthread {workers}
  maxconn {connections}
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  {limit}
  default_backend stub
backend stub
  server stub 127.0.0.1:{stub}
"""
HAPROXY_LIMIT = """stick-table type string len 64 size 100k expire 60s store http_req_rate(1s)
  http-request track-sc0 url_param(key)
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100000000 }"""
ENVOY = """
static_resources:
  listeners:
    - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
      filter_chains:
        - filters:
            - name: http
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: http
                route_config:
                  virtual_hosts:
                    - {{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: stub }} }}] }}
                http_filters:
                  {limit}
                  - name: router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
    - name: stub
      type: STATIC
      load_assignment:
        cluster_name: stub
        endpoints:
          - lb_endpoints:
              - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {stub} }} }} }}
"""
ENVOY_LIMIT = """- name: limit
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                      stat_prefix: limit
                      token_bucket: { max_tokens: 1000000000, tokens_per_fill: 1000000000, fill_interval: 1s }
                      filter_enabled: { default_value: { numerator: 100 } }
                      filter_enforced: { default_value: { numerator: 100 } }"""
SOLVEGATE = """
listen: 127.0.0.1:{port}
admin: {{ listen: 127.0.0.1:{admin} }}
upstream: {{ url: "http://127.0.0.1:{stub}", poll_spacing: {spacing} }}
accounts: {{ main: {{ key: "{key}" }} }}
slo: {{ default: {{ deadline: 1h }} }}
tenants:
  bench:
    rate_per_minute: 1000000
    in_flight_max: 100000
    daily_limit: 1000000000
    daily_spend_cap: 100000000
    prepaid: {{ opening_balance: 100000000 }}
    keys: {{ load: {{ key: "{tenant}" }} }}
"""


@dataclasses.dataclass
class Peer:
    """One that answers polls: a proxy, or the stub itself."""

    name: str
    port: int
    process: subprocess.Popen
    key: str = KEY
    admin: int | None = None  # the port of Solvegate's metrics
    polls_from: str | None = None  # where Solvegate is to have its answers from

    def get(self, target):
        return fetch(self.port, target)

    def submit(self):
        answer = self.get(submission(self.key))
        if not answer.startswith("OK|"):
            sys.exit(f"{self.name} refused a submission: {answer}")
        return answer[3:]

    def metric(self, series):
        """The sum of all series whose text begins like this."""
        lines = fetch(self.admin, "/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series))


class Bench:
    """A folder and the processes that work in it. Leaving it ends them all."""

    def __init__(self, binary, workers=1):
        self.binary, self.workers = str(pathlib.Path(binary).resolve()), workers
        self.processes = []
        self.ports = itertools.chain(range(18471, 20000))

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.temporary.name)
        try:
            self.stub = self.start_stub()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for wish in (signal.SIGINT, signal.SIGTERM):
            signal.signal(wish, signal.SIG_IGN)  # to end is under way
        self.end(self.processes)
        self.temporary.cleanup()

    def start(self, name):
        """Starts the peer of that name; returns when it answers."""
        return PEERS[name](self, name)

    def start_stub(self):
        folder, port = self.room("stub"), self.free_port()
        (folder / "conf").write_text(STUB.format(folder=folder, port=port, temp=nginx_temp(folder)))
        return Peer("direct", port, self.spawn("stub", ["nginx", "-c", str(folder / "conf"), "-p", str(folder)], port, "1"))

    def proxy_cores(self):
        return "0" if self.workers == 1 else f"0-{os.cpu_count() - 1}"

    def room(self, name):
        """A new folder for one that starts."""
        return pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def free_port(self):
        """One below those that the kernel gives to outgoing connections."""
        for port in self.ports:
            with socket.socket() as attempt:
                try:
                    attempt.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    continue
        sys.exit("no free port")

    def spawn(self, name, command, port, cores, **environment):
        """Starts a process on those cores; returns when it answers on the port."""
        log = self.folder / f"{name}.log"
        with open(log, "w") as output:
            process = subprocess.Popen(
                ["taskset", "-c", cores, *command], cwd=self.folder, env=dict(os.environ, **environment),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                fetch(port, "/nothing")
                return process
            except urllib.error.HTTPError as error:
                if error.code < 500:  # an answer of the stub or of Solvegate; a proxy without its upstream says 503
                    return process
            except OSError:
                pass
            time.sleep(0.05)
        sys.exit(f"{name} does not start:\n{log.read_text()[-2000:]}")

    def end(self, processes):
        """Ends them, by force when asking does not help."""
        processes = list(processes)
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.processes.remove(process)


def direct(bench, _):
    return bench.stub


def nginx(bench, name):
    folder, port = bench.room(name), bench.free_port()
    limit = NGINX_LIMIT if name.endswith("-limit") else dict(zone="", limit="")
    (folder / "conf").write_text(NGINX.format(
        folder=folder, temp=nginx_temp(folder), workers=bench.workers, connections=ROOM,
        port=port, stub=bench.stub.port, **limit,
    ))
    command = ["nginx", "-c", str(folder / "conf"), "-p", str(folder)]
    return Peer(name, port, bench.spawn(name, command, port, bench.proxy_cores()))


def haproxy(bench, name):
    folder, port = bench.room(name), bench.free_port()
    (folder / "conf").write_text(HAPROXY.format(
        workers=bench.workers, connections=ROOM, port=port, stub=bench.stub.port,
        limit=HAPROXY_LIMIT if name.endswith("-limit") else "",
    ))
    command = ["haproxy", "-db", "-q", "-f", str(folder / "conf")]
    return Peer(name, port, bench.spawn(name, command, port, bench.proxy_cores()))


def envoy(bench, name):
    folder, port = bench.room(name), bench.free_port()
    (folder / "envoy.yaml").write_text(ENVOY.format(
        port=port, stub=bench.stub.port, limit=ENVOY_LIMIT if name.endswith("-limit") else "",
    ))
    command = [install.envoy_program(), "-c", str(folder / "envoy.yaml"), "--concurrency", str(bench.workers),
               "--disable-hot-restart", "-l", "error"]
    return Peer(name, port, bench.spawn(name, command, port, bench.proxy_cores()))


def solvegate(bench, name, under=()):
    """`under`: a program that runs it, with its arguments."""
    folder, port, admin = bench.room(name), bench.free_port(), bench.free_port()
    from_memory = name.endswith("-memory")
    (folder / "solvegate.yaml").write_text(SOLVEGATE.format(
        port=port, admin=admin, stub=bench.stub.port, key=KEY, tenant=TENANT_KEY, spacing="1m" if from_memory else "0s",
    ))
    command = [*under, bench.binary, "run", "--config", str(folder / "solvegate.yaml")]
    process = bench.spawn(
        name, command, port, bench.proxy_cores(), TOKIO_WORKER_THREADS=str(bench.workers), RUST_LOG="off",
    )
    return Peer(name, port, process, TENANT_KEY, admin, "memory" if from_memory else "upstream")


PEERS = {
    "direct": direct,
    "nginx": nginx,
    "nginx-limit": nginx,
    "haproxy": haproxy,
    "haproxy-limit": haproxy,
    "envoy": envoy,
    "envoy-limit": envoy,
    "solvegate": solvegate,
    "solvegate-memory": solvegate,
}


def fetch(port, target):
    return OPENER.open(f"http://127.0.0.1:{port}{target}", timeout=10).read().decode()


def submission(key):
    query = urllib.parse.urlencode(dict(key=key, method="turnstile", sitekey="s", pageurl="https://a.test"))
    return f"/in.php?{query}"


def poll(key, task):
    return f"/res.php?key={key}&action=get&id={task}"


def nginx_temp(folder):
    parts = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    return "".join(f"{name}_temp_path {folder}/{name}; " for name in parts)
