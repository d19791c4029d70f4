"""PyPI `captchaai`, the provider's own SDK: sync and async, over plain HTTP, always json=1."""

import asyncio

import captchaai

from support.image import PNG
from support.stack import Solved

from .base import SITE_KEY, Driver

PROXY = {"proxy": "user:pass@203.0.113.7:8080", "proxytype": "HTTP"}

CALLS = {
    "turnstile": lambda sdk, page: sdk.turnstile(SITE_KEY, page),
    "recaptcha_v2": lambda sdk, page: sdk.recaptcha_v2(SITE_KEY, page),
    "recaptcha_v2_invisible": lambda sdk, page: sdk.recaptcha_v2(SITE_KEY, page, invisible=True),
    "recaptcha_v2_enterprise": lambda sdk, page: sdk.recaptcha_v2(SITE_KEY, page, enterprise=True),
    "recaptcha_v3": lambda sdk, page: sdk.recaptcha_v3(SITE_KEY, page, action="login", min_score=0.3),
    "recaptcha_v3_enterprise": lambda sdk, page: sdk.recaptcha_v3(
        SITE_KEY, page, action="login", enterprise=True
    ),
    "image": lambda sdk, page: sdk.normal(PNG, numeric=1, min_len=4, instructions=page),
    "grid": lambda sdk, page: sdk.grid(PNG, "crosswalks", "3x3"),
    "bls": lambda sdk, page: sdk.bls([PNG] * 9, "664"),
    "geetest_v3": lambda sdk, page: sdk.geetest("f1ab2cdefa3456789012345b6c78d90e", "12345678abc", page),
    "cloudflare_challenge": lambda sdk, page: sdk.cloudflare_challenge(page, **PROXY),
    "captchafox": lambda sdk, page: sdk.captchafox("sk_test", page, **PROXY),
    "friendly_captcha": lambda sdk, page: sdk.friendly_captcha("FCMGEMUD2KTDSQ5H", page),
    "lemin": lambda sdk, page: sdk.lemin("CROPPED_d3d4d56_1", "lemin-cropped-captcha", page),
}

# Kinds for which the SDK must hand on the browser that the answer belongs to.
WITH_USER_AGENT = {
    "recaptcha_v2_enterprise",
    "recaptcha_v3_enterprise",
    "cloudflare_challenge",
    "captchafox",
}
# Kinds whose answer the SDK parses.
STRUCTURED = {"grid": list, "bls": list, "geetest_v3": dict, "lemin": dict}

REGISTRY_NAMES = {"image": "normal", "geetest_v3": "geetest"}

REFUSALS = {
    "ERROR_CAPTCHA_UNSOLVABLE": (captchaai.UnsolvableError, "^Captcha could not be solved$"),
    "ERROR_KEY_DOES_NOT_EXIST": (captchaai.InvalidKeyError, "^Key not found — check your dashboard$"),
    "ERROR_WRONG_USER_KEY": (captchaai.InvalidKeyError, "^Key must be 32 characters$"),
    "ERROR_WRONG_CAPTCHA_ID": (captchaai.APIError, "^Task ID not found$"),
}


class OfficialSdk(Driver):
    name = "captchaai"
    kinds = tuple(CALLS)
    has_balance = False
    checks_key_length = True

    def __init__(self, place, prefix=""):
        super().__init__(place)
        self.base_url = place.http + prefix
        self.client = None

    def connected(self):
        """The client; building it asks for `threadsinfo`."""
        if self.client is None:
            self.client = captchaai.CaptchaAI(api_key=self.place.key, base_url=self.base_url)
        return self.client

    def solve(self, kind, page):
        return self.solved(kind, CALLS[kind](self.connected(), page))

    def fetch(self, kind, task_id):
        return self.solved(kind, self.connected().get_result(REGISTRY_NAMES.get(kind, kind), task_id))

    def threads(self):
        return self.connected().threads_info()

    def solved(self, kind, result):
        assert isinstance(result.solution, STRUCTURED.get(kind, str)), result
        assert result.solution, result
        assert bool(result.user_agent) == (kind in WITH_USER_AGENT), result
        return Solved(kind, result.task_id, result.solution, self.place.tenant)

    def refusal(self, code):
        return REFUSALS[code]


class AsyncOfficialSdk(OfficialSdk):
    name = "captchaai-async"
    checks_key_length = False

    def connected(self):
        raise AssertionError("the async client lives for one call")

    def solve(self, kind, page):
        return self.solved(kind, self.run(lambda sdk: CALLS[kind](sdk, page)))

    def fetch(self, kind, task_id):
        name = REGISTRY_NAMES.get(kind, kind)
        return self.solved(kind, self.run(lambda sdk: sdk.get_result(name, task_id)))

    def threads(self):
        return self.run(lambda sdk: sdk.threads_info())

    def run(self, call):
        async def whole():
            sdk = await captchaai.AsyncCaptchaAI.create(api_key=self.place.key, base_url=self.base_url)
            async with sdk:
                return await call(sdk)

        return asyncio.run(whole())
