"""The client library's clock: its sleeps pass faster, and can be watched."""

import asyncio
import sys
import time

real_sleep = time.sleep
real_async_sleep = asyncio.sleep


class ClientClock:
    """Stands in for `time.sleep` and `asyncio.sleep`; the processes under test keep real time."""

    def __init__(self, factor):
        self.factor = factor
        self.slept = []
        self.before_sleep = None

    @property
    def elapsed(self):
        """Seconds that the library believes it has slept."""
        return sum(self.slept)

    def sleep(self, seconds):
        # `subprocess` waits for a child in small sleeps; those are not the library's.
        if sys._getframe(1).f_globals["__name__"] == "subprocess":
            return real_sleep(seconds)
        if self.before_sleep and seconds > 0:
            self.before_sleep()
        self.slept.append(seconds)
        return real_sleep(seconds / self.factor)

    async def async_sleep(self, seconds, result=None):
        if seconds <= 0:
            return await real_async_sleep(seconds, result)
        if self.before_sleep:
            self.before_sleep()
        self.slept.append(seconds)
        return await real_async_sleep(seconds / self.factor, result)

    def install(self, monkeypatch):
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(asyncio, "sleep", self.async_sleep)


def wait_until(condition, what, seconds=10.0):
    """Returns the first true value of `condition()`; fails after `seconds` of real time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        real_sleep(0.01)
