"""Real, unmodified client libraries solve through the sidecar in front of the simulated provider."""

import os
import socket

import pytest

from drivers import Place
from support.certificates import make_certificates
from support.clock import ClientClock
from support.simulator import Outage
from support.stack import Stack
from support.traffic import Traffic

# Some libraries set no time-out of their own; a hang must end as a failure.
socket.setdefaulttimeout(30)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


class Bench:
    """One test: its stack, the library's clock and the library's traffic."""

    def __init__(self, directory, certificates, clock, traffic):
        self.directory = directory
        self.certificates = certificates
        self.clock = clock
        self.traffic = traffic
        self.running = None

    def stack(self, **tenants):
        """A provider and a sidecar with these tenants, each with one key."""
        self.running = Stack(self.directory, self.certificates, tenants)
        return self.running

    def client(self, driver, tenant="acme", key=None, **options):
        """That library with the key of `tenant`, or with a key that is none."""
        place = Place(
            http=self.running.sidecar.http,
            https=self.running.sidecar.https,
            key=key or self.running.keys[tenant],
            tenant=tenant,
            authority=self.certificates.authority,
            directory=self.directory,
            clock=self.clock,
            traffic=self.traffic,
        )
        return driver(place, **options)

    def outage(self, seconds):
        """A provider that is away from the library's next sleep on, for so many of its seconds."""
        # Slower than elsewhere: the time that the sidecar takes to notice is real.
        self.clock.factor = 20
        return Outage(self.running.simulator, self.clock, seconds)

    def refused(self, client, code, call):
        """`call` fails as that library reports `code`."""
        error, pattern = client.refusal(code)
        with pytest.raises(error, match=pattern) as caught:
            call()
        assert type(caught.value) is error


@pytest.fixture
def bench(tmp_path, certificates, monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    clock = ClientClock(factor=50)
    traffic = Traffic()
    clock.install(monkeypatch)
    traffic.install(monkeypatch)
    bench = Bench(tmp_path, certificates, clock, traffic)
    yield bench
    if bench.running:
        bench.running.kill()
