"""`solvegate run`: its config file and its addresses."""

import json
import re

from .clock import wait_until
from .process import Process
from .wire import http

# A price of its own for every type, so that a charge shows which type the solve was taken for.
PRICES = {
    "image": "0.001001",
    "grid": "0.001102",
    "bls": "0.001203",
    "recaptcha_v2": "0.003001",
    "recaptcha_v2_invisible": "0.003102",
    "recaptcha_v2_enterprise": "0.003203",
    "recaptcha_v3": "0.004001",
    "recaptcha_v3_enterprise": "0.004102",
    "turnstile": "0.002001",
    "cloudflare_challenge": "0.005001",
    "geetest_v3": "0.002102",
    "captchafox": "0.002203",
    "friendly_captcha": "0.002304",
    "lemin": "0.002405",
    "default": "0.009009",
}


def micros(price):
    """Micro-dollars of a decimal string."""
    whole, _, fraction = price.partition(".")
    return int(whole) * 1_000_000 + int(fraction.ljust(6, "0"))


def config(simulator_url, account_key, tenants, certificates, state):
    """solvegate.yaml as a value; it is written as JSON, which YAML contains."""
    return {
        "listen": "127.0.0.1:0",
        "tls": {"listen": "127.0.0.1:0", "cert": str(certificates.chain), "key": str(certificates.key)},
        "admin": {"listen": "127.0.0.1:0"},
        "upstream": {"url": simulator_url, "poll_spacing": "50ms"},
        "accounts": {"main": {"key": account_key}},
        "prices": {name: float(price) for name, price in PRICES.items()},
        "tenants": {
            name: {"account": "main", **policy, "keys": {"app": {"key": key}}}
            for name, (key, policy) in tenants.items()
        },
        "state": {"path": str(state)},
    }


class Sidecar(Process):
    def __init__(self, directory, settings):
        path = directory / "solvegate.yaml"
        path.write_text(json.dumps(settings, indent=2))
        super().__init__("solvegate run", ["run", "--config", str(path)], directory)
        self.http = self.address(r"\blistening on (http://[^\s\"/]+)")
        self.https = self.address(r"\blistening on (https://[^\s\"/]+)")
        self.admin = self.address(r"\badmin on (http://[^\s\"/]+)")
        wait_until(self.ready, "/readyz to answer 200")

    def ready(self):
        return http("GET", f"{self.admin}/readyz").status == 200

    def rejections(self, tenant):
        """Rejected submissions of a tenant by reason, from the counters with a `reason` label."""
        counts = {}
        for line in http("GET", f"{self.admin}/metrics").text.splitlines():
            sample = re.fullmatch(r"(solvegate_\w*reject\w*_total)\{(.*)\} (\S+)", line)
            if not sample:
                continue
            labels = dict(re.findall(r'(\w+)="([^"]*)"', sample[2]))
            if labels.get("tenant") == tenant and float(sample[3]) > 0:
                reason = labels["reason"]
                counts[reason] = counts.get(reason, 0) + int(float(sample[3]))
        return counts
