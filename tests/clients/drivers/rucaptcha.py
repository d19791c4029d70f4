"""PyPI `python-rucaptcha`, its CaptchaAI client: multipart submissions and multipart polls."""

from python_rucaptcha.captchaai import CaptchaAI, CaptchaAIFile

from support.image import PNG
from support.stack import Solved

from .base import SITE_KEY, Driver, Refused

TURNSTILE = {"sitekey": SITE_KEY}
IMAGE = {"file": CaptchaAIFile(PNG, "captcha.png", "image/png")}


class Rucaptcha(Driver):
    """The library accepts task ids only as JSON strings."""

    name = "python-rucaptcha"
    kinds = ("turnstile", "image")

    def client(self, profile, params=None, files=None):
        client = CaptchaAI(self.place.key, profile=profile, params=params, files=files)
        client.options.url_request = f"{self.place.http}/in.php"
        client.options.url_response = f"{self.place.http}/res.php"
        return client

    def solve(self, kind, page):
        if kind == "image":
            client = self.client("normal-file", {"textinstructions": page}, IMAGE)
        else:
            client = self.client("turnstile", {**TURNSTILE, "pageurl": page})
        return self.solved(kind, client.captcha_handler())

    def solve_at_once(self, page):
        """`solve.php`: the answer in one request."""
        result = self.client("normal-solve-file", {"textinstructions": page}, IMAGE).captcha_handler()
        return self.checked(result)["solution"]["request"]

    def fetch(self, kind, task_id):
        raise NotImplementedError("the library polls only what it has submitted")

    def solved(self, kind, result):
        result = self.checked(result)
        return Solved(kind, result["taskId"], result["solution"]["request"], self.place.tenant)

    def checked(self, result):
        if result["errorId"]:
            raise Refused(result["errorCode"])
        return result

    def balance(self):
        return float(self.client("turnstile", TURNSTILE).get_balance()["balance"])

    def refusal(self, code):
        return Refused, f"^{code}$"
