"""The clients under test, each behind the same few verbs."""

from .base import Place
from .by_hand import Curl, RawSocket
from .official_sdk import AsyncOfficialSdk, OfficialSdk
from .rucaptcha import Rucaptcha
from .two_captcha import AsyncTwoCaptchaPython, TwoCaptchaPython
from .two_captcha_ts import TwoCaptchaTs
from .unicaps import Unicaps

SDKS = [OfficialSdk, AsyncOfficialSdk]
OTHERS = [
    TwoCaptchaPython,
    AsyncTwoCaptchaPython,
    TwoCaptchaTs,
    Unicaps,
    Rucaptcha,
    Curl,
    RawSocket,
]
ALL = SDKS + OTHERS

__all__ = ["ALL", "OTHERS", "SDKS", "Curl", "Place", "Rucaptcha"]
