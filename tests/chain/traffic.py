"""Clients that solve one captcha after the other."""

import threading
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlencode, urlsplit

from support.stack import made_key

PAGE = {"pageurl": "https://page.test"}
FORMS = {
    "turnstile": {"method": "turnstile", "sitekey": "0x4AAA", **PAGE},
    "recaptcha_v2": {"method": "userrecaptcha", "googlekey": "6Le-key", **PAGE},
    "recaptcha_v3": {"method": "userrecaptcha", "version": "v3", "googlekey": "6Le-key", **PAGE},
}
LANES = [
    ("acme", "turnstile"),
    ("acme", "recaptcha_v2"),
    ("crawler", "turnstile"),
    ("crawler", "recaptcha_v3"),
    ("trial", "recaptcha_v2"),
]


class Client:
    """One tenant's connection; it is opened again when it was cut."""

    def __init__(self, url, tenant):
        self.key = made_key(tenant)
        self.host = urlsplit(url).netloc
        self.connection = None

    def get(self, endpoint, **fields):
        """The answer as text; `None` when there was none."""
        try:
            if self.connection is None:
                self.connection = HTTPConnection(self.host, timeout=30)
            self.connection.request("GET", f"/{endpoint}?{urlencode({'key': self.key, **fields})}")
            return self.connection.getresponse().read().decode()
        except (OSError, HTTPException):
            self.connection = None
            return None

    def submit(self, captcha_type):
        return self.get("in.php", **FORMS[captcha_type])

    def solve(self, captcha_type, pause):
        """Submits, and polls to the end; the last answer."""
        answer = self.submit(captcha_type)
        if answer is None or not answer.startswith("OK|"):
            pause(0.3)
            return answer
        task, answer = answer.removeprefix("OK|"), "CAPCHA_NOT_READY"
        while answer == "CAPCHA_NOT_READY" and not pause(0.15):
            answer = self.get("res.php", action="get", id=task)
        return answer


class Traffic:
    def __init__(self, url):
        self.url = url
        self.go = threading.Event()
        self.stopping = threading.Event()
        self.idle = threading.Semaphore(0)
        self.answers = {}
        self.lanes = [threading.Thread(target=self.run, args=lane, daemon=True) for lane in LANES]
        for lane in self.lanes:
            lane.start()

    def run(self, tenant, captcha_type):
        client = Client(self.url, tenant)
        while not self.stopping.is_set():
            if not self.go.is_set():
                self.idle.release()
                self.go.wait()
                continue
            answer = client.solve(captcha_type, self.stopping.wait)
            code = "OK" if answer and answer.startswith("OK|") else answer
            self.answers[captcha_type, code] = self.answers.get((captcha_type, code), 0) + 1

    def start(self):
        for _ in self.lanes:
            assert self.idle.acquire(timeout=60), "a client does not come to rest"
        self.go.set()

    def pause(self):
        """Returns when every solve under way has ended."""
        self.go.clear()
        for _ in self.lanes:
            assert self.idle.acquire(timeout=60), "a client does not come to rest"
        for _ in self.lanes:
            self.idle.release()

    def stop(self):
        self.stopping.set()
        self.go.set()
        for lane in self.lanes:
            lane.join(60)
