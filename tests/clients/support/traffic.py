"""What a client library sent and got back, noted at its HTTP library, below its own code."""

import json
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx
import requests

ACTIONS = {
    "get": "poll",
    "get2": "poll",
    "getbalance": "balance",
    "threadsinfo": "threads",
    "reportgood": "report",
    "reportbad": "report",
}


@dataclass(frozen=True)
class Exchange:
    """One request of the library and its answer."""

    operation: str
    status: int
    body: str
    reason: str | None

    @property
    def code(self):
        """`OK`, `CAPCHA_NOT_READY`, `ERROR_…`, or `threads` figures as `working/threads`."""
        try:
            fields = json.loads(self.body)
        except ValueError:
            return "OK" if self.body.startswith("OK|") else self.body
        if not isinstance(fields, dict):
            return self.body
        if self.operation == "threads" and "threads" in fields:
            return f"{fields['working_threads']}/{fields['threads']}"
        if fields.get("status") == 0:
            return fields["request"]
        return "OK"

    @property
    def task_id(self):
        """The id in the answer to an accepted submission."""
        assert self.operation == "submit" and self.code == "OK", self
        if self.body.startswith("OK|"):
            return self.body.removeprefix("OK|")
        return str(json.loads(self.body)["request"])


class Traffic:
    """All exchanges of one test, in order."""

    def __init__(self):
        self.exchanges = []
        self.after_exchange = None

    def __iter__(self):
        return iter(self.exchanges)

    def codes(self, *operations):
        return [e.code for e in self.exchanges if not operations or e.operation in operations]

    def operations(self):
        return [e.operation for e in self.exchanges]

    def accepted(self):
        """Task ids of the submissions that were accepted."""
        return [e.task_id for e in self.exchanges if e.operation == "submit" and e.code == "OK"]

    def reasons(self):
        """`X-Solvegate-Reason` of every answer that has one."""
        return [e.reason for e in self.exchanges if e.reason is not None]

    def note(self, exchange):
        self.exchanges.append(exchange)
        if self.after_exchange:
            self.after_exchange(exchange)

    def install(self, monkeypatch):
        requests_send = requests.Session.send
        httpx_send = httpx.Client.send
        httpx_async_send = httpx.AsyncClient.send

        def send(session, request, **options):
            response = requests_send(session, request, **options)
            body = request.body or b""
            body = body.encode() if isinstance(body, str) else body
            self.note_http(request.url, body, response.status_code, response.content, response.headers)
            return response

        def send_httpx(client, request, **options):
            response = httpx_send(client, request, **options)
            response.read()
            self.note_http(
                str(request.url), request.read(), response.status_code, response.content, response.headers
            )
            return response

        async def send_httpx_async(client, request, **options):
            response = await httpx_async_send(client, request, **options)
            await response.aread()
            self.note_http(
                str(request.url),
                await request.aread(),
                response.status_code,
                response.content,
                response.headers,
            )
            return response

        monkeypatch.setattr(requests.Session, "send", send)
        monkeypatch.setattr(httpx.Client, "send", send_httpx)
        monkeypatch.setattr(httpx.AsyncClient, "send", send_httpx_async)

    def note_http(self, url, request_body, status, body, headers):
        self.note(
            Exchange(
                operation=operation_of(url, request_body),
                status=status,
                body=body.decode("utf-8"),
                reason=headers.get("X-Solvegate-Reason"),
            )
        )


def operation_of(url, request_body):
    """`submit`, `solve` (the synchronous one), or what the `action` asks for."""
    parts = urlsplit(url)
    endpoint = parts.path.rsplit("/", 1)[-1]
    if endpoint == "in.php":
        return "submit"
    if endpoint == "solve.php":
        return "solve"
    action = parse_qs(parts.query).get("action")
    if not action:
        found = re.search(rb'(?:^|&)action=(\w+)|name="action"[^\w]*?\r\n\r\n(\w+)', request_body, re.DOTALL)
        assert found, f"no action in {url}"
        action = [(found[1] or found[2]).decode()]
    return ACTIONS[action[0]]
