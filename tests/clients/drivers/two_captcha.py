"""PyPI `2captcha-python`: sync (requests) and async (httpx), https only, text answers."""

import asyncio

from twocaptcha import AsyncTwoCaptcha, TwoCaptcha
from twocaptcha.exceptions.api import ApiException

from support.image import PNG
from support.stack import Solved

from .base import SITE_KEY, Driver

PROXY = {"type": "HTTP", "uri": "user:pass@203.0.113.7:8080"}

CALLS = {
    "turnstile": lambda api, page, image: api.turnstile(SITE_KEY, page),
    "recaptcha_v2": lambda api, page, image: api.recaptcha(SITE_KEY, page),
    "recaptcha_v2_invisible": lambda api, page, image: api.recaptcha(SITE_KEY, page, invisible=1),
    "recaptcha_v2_enterprise": lambda api, page, image: api.recaptcha(SITE_KEY, page, enterprise=1),
    "recaptcha_v3": lambda api, page, image: api.recaptcha(
        SITE_KEY, page, version="v3", action="login", score=0.3
    ),
    "recaptcha_v3_enterprise": lambda api, page, image: api.recaptcha(
        SITE_KEY, page, version="v3", action="login", enterprise=1
    ),
    "image": lambda api, page, image: api.normal(image, numeric=1, minLen=4, hintText=page),
    "grid": lambda api, page, image: api.grid(image, hintText=page, rows=3, cols=3),
    "geetest_v3": lambda api, page, image: api.geetest(
        "f1ab2cdefa3456789012345b6c78d90e", "12345678abc", page
    ),
    "captchafox": lambda api, page, image: api.captchafox("sk_test", page, "Mozilla/5.0", PROXY),
    "friendly_captcha": lambda api, page, image: api.friendly_captcha("FCMGEMUD2KTDSQ5H", page),
    "lemin": lambda api, page, image: api.lemin("CROPPED_d3d4d56_1", "lemin-cropped-captcha", page),
}


class TwoCaptchaPython(Driver):
    name = "2captcha-python"
    kinds = tuple(CALLS)
    form = "text"
    has_report = True
    library = TwoCaptcha

    def __init__(self, place):
        super().__init__(place)
        self.image = place.directory / "captcha.png"
        self.image.write_bytes(PNG)
        self.api = self.library(place.key, server=place.https.removeprefix("https://"))

    def solve(self, kind, page):
        result = self.run(CALLS[kind](self.api, page, str(self.image)))
        return Solved(kind, result["captchaId"], result["code"], self.place.tenant)

    def fetch(self, kind, task_id):
        return Solved(kind, task_id, self.run(self.api.get_result(task_id)), self.place.tenant)

    def balance(self):
        return self.run(self.api.balance())

    def report(self, task_id):
        return self.run(self.api.report(task_id, True))

    def refusal(self, code):
        return ApiException, f"^{code}$"

    def run(self, result):
        return result


class AsyncTwoCaptchaPython(TwoCaptchaPython):
    name = "2captcha-python-async"
    library = AsyncTwoCaptcha

    def run(self, result):
        return asyncio.run(result)
