"""Two clients as people write them: `curl` in a shell, and requests put together on a socket."""

import base64
import json
import socket
import subprocess
from http.client import HTTPResponse
from urllib.parse import urlencode, urlsplit

from support.image import PNG
from support.stack import Solved

from .base import SITE_KEY, Driver, Refused


class ByHand(Driver):
    """Submits, then polls every 5 s of its clock."""

    kinds = ("turnstile", "image")

    def ask(self, operation, fields):
        """The answer's body; a code that is neither success nor pending is raised."""
        raise NotImplementedError

    def submit_fields(self, kind, page):
        if kind == "image":
            return {"method": "post", "textinstructions": page}
        return {"method": "turnstile", "sitekey": SITE_KEY, "pageurl": page}

    def solve(self, kind, page):
        return self.fetch(kind, self.ask("in.php", self.submit_fields(kind, page)))

    def fetch(self, kind, task_id):
        while (answer := self.ask("res.php", {"action": "get", "id": task_id})) == "CAPCHA_NOT_READY":
            self.place.clock.sleep(5)
        return Solved(kind, task_id, answer, self.place.tenant)

    def balance(self):
        return float(self.ask("res.php", {"action": "getbalance"}))

    def refusal(self, code):
        return Refused, f"^{code}$"

    def note(self, target, sent, status, body, headers):
        self.place.traffic.note_http(f"{self.place.http}{target}", sent, status, body, headers)


class Curl(ByHand):
    """GET with the fields in the query; a picture as a multipart form; text answers."""

    name = "curl"
    form = "text"

    def ask(self, operation, fields):
        fields = {"key": self.place.key, **fields}
        if fields.get("method") == "post":
            image = self.place.directory / "captcha.png"
            image.write_bytes(PNG)
            encoded = [part for item in fields.items() for part in ("--form-string", "=".join(item))]
            body = self.run(f"/{operation}", *encoded, "-F", f"file=@{image}")
        else:
            body = self.run(f"/{operation}?{urlencode(fields)}")
        if body.startswith("OK|"):
            return body.removeprefix("OK|")
        if body.startswith("ERROR"):
            raise Refused(body)
        return body

    def run(self, target, *options):
        headers_path = self.place.directory / "curl.headers"
        command = ["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "30", "-D", str(headers_path)]
        command += [*options, f"{self.place.http}{target}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        # After `100 Continue` curl has written two heads; the last one is the answer's.
        head = headers_path.read_text().strip().split("\n\n")[-1].splitlines()
        headers = dict(line.split(": ", 1) for line in head[1:])
        headers = {name.title(): value for name, value in headers.items()}
        self.note(target, b"", int(head[0].split()[1]), done.stdout, headers)
        return done.stdout.decode()


class RawSocket(ByHand):
    """One kept connection, lower-case header names, each request in two packets, json=1."""

    name = "socket"

    def __init__(self, place):
        super().__init__(place)
        parts = urlsplit(place.http)
        self.host = parts.netloc
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def submit_fields(self, kind, page):
        fields = super().submit_fields(kind, page)
        if kind == "image":
            fields |= {"method": "base64", "body": base64.b64encode(PNG).decode()}
        return fields

    def ask(self, operation, fields):
        sent = urlencode({**fields, "key": self.place.key, "json": 1}).encode()
        head = (
            f"POST /{operation} HTTP/1.1\r\nhost: {self.host}\r\n"
            f"content-type: application/x-www-form-urlencoded\r\ncontent-length: {len(sent)}\r\n\r\n"
        )
        request = head.encode() + sent
        middle = len(request) - len(sent) // 2
        self.socket.sendall(request[:middle])
        self.socket.sendall(request[middle:])
        response = HTTPResponse(self.socket, method="POST")
        response.begin()
        body = response.read()
        assert not response.will_close, "the sidecar closes a connection that HTTP/1.1 keeps"
        self.note(f"/{operation}", sent, response.status, body, response.headers)
        reply = json.loads(body)
        if reply["status"] == 0 and reply["request"] != "CAPCHA_NOT_READY":
            raise Refused(reply["request"])
        return str(reply["request"]) if operation == "in.php" else reply["request"]
