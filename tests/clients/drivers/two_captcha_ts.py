"""npm `2captcha-ts`, run by Node: https only, GET with json=1, images as a JSON body."""

import base64
import json
import os
import subprocess
from pathlib import Path

from support.image import PNG
from support.simulator import DOWN
from support.stack import Solved

from .base import SITE_KEY, Driver, Refused

SCRIPT = Path(__file__).with_suffix(".cjs")

# No enterprise kinds: their answer comes in `result`, where this library never looks.
CALLS = {
    "turnstile": lambda page: ("cloudflareTurnstile", {"sitekey": SITE_KEY, "pageurl": page}),
    "recaptcha_v2": lambda page: ("recaptcha", {"googlekey": SITE_KEY, "pageurl": page}),
    "recaptcha_v2_invisible": lambda page: (
        "recaptcha",
        {"googlekey": SITE_KEY, "pageurl": page, "invisible": 1},
    ),
    "recaptcha_v3": lambda page: (
        "recaptcha",
        {"googlekey": SITE_KEY, "pageurl": page, "version": "v3", "action": "login", "min_score": "0.3"},
    ),
    "image": lambda page: (
        "imageCaptcha",
        {"body": base64.b64encode(PNG).decode(), "numeric": 1, "textinstructions": page},
    ),
    "geetest_v3": lambda page: (
        "geetest",
        {"gt": "f1ab2cdefa3456789012345b6c78d90e", "challenge": "12345678abc", "pageurl": page},
    ),
    "friendly_captcha": lambda page: ("friendlyCaptcha", {"sitekey": "FCMGEMUD2KTDSQ5H", "pageurl": page}),
    "lemin": lambda page: (
        "lemin",
        {"captcha_id": "CROPPED_d3d4d56_1", "div_id": "lemin-cropped-captcha", "pageurl": page},
    ),
}


class TwoCaptchaTs(Driver):
    name = "2captcha-ts"
    kinds = tuple(CALLS)
    has_report = True

    def solve(self, kind, page):
        method, params = CALLS[kind](page)
        answer = self.call(method, params)
        return Solved(kind, str(answer["id"]), answer["data"], self.place.tenant)

    def fetch(self, kind, task_id):
        return Solved(kind, task_id, self.call("pollResponse", task_id)["data"], self.place.tenant)

    def balance(self):
        return self.call("balance")

    def report(self, task_id):
        return self.call("goodReport", task_id)

    def refusal(self, code):
        return Refused, f"^APIError: {code}$"

    def call(self, method, *arguments):
        place = self.place
        result_path = place.directory / "two_captcha_ts.json"
        job = {
            "server": place.https,
            "key": place.key,
            "method": method,
            "arguments": arguments,
            "factor": place.clock.factor,
            "outage": outage_of(place.clock),
            "result": str(result_path),
        }
        result_path.unlink(missing_ok=True)
        done = subprocess.run(
            ["node", str(SCRIPT), json.dumps(job)],
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(place.authority)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0 and result_path.exists(), done.stdout + done.stderr
        result = json.loads(result_path.read_text())
        place.clock.slept.extend(result["slept"])
        if result["outageOver"]:
            planned_outage(place.clock).over = True
        for exchange in result["exchanges"]:
            place.traffic.note_http(
                exchange["url"],
                exchange["sent"].encode(),
                exchange["status"],
                exchange["body"].encode(),
                {"X-Solvegate-Reason": exchange["reason"]},
            )
        if "error" in result:
            raise Refused(f"{result['error']['name']}: {result['error']['err']}")
        return result["value"]


def outage_of(clock):
    """The outage that the test has planned, for the other process to act out."""
    if clock.before_sleep is None:
        return None
    outage = planned_outage(clock)
    return {"control": f"{outage.simulator.url}/-", "seconds": outage.seconds, "down": DOWN}


def planned_outage(clock):
    """What `Outage` hung on the clock."""
    return clock.before_sleep.__self__
