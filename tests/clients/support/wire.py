"""A plain HTTP client of our own, outside the traffic that is noted: the other tenant, the control API."""

import json
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit


@dataclass(frozen=True)
class Reply:
    status: int
    headers: tuple
    text: str

    def without_date(self):
        """All that two answers must share to be the same answer."""
        headers = sorted((name.lower(), value) for name, value in self.headers if name.lower() != "date")
        return self.status, headers, self.text

    def json(self):
        return json.loads(self.text)


def http(method, url, body=None, headers=None):
    parts = urlsplit(url)
    assert parts.scheme == "http", url
    connection = HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Reply(response.status, tuple(response.getheaders()), response.read().decode("utf-8"))
    finally:
        connection.close()


def get(base_url, endpoint, **fields):
    return http("GET", f"{base_url}/{endpoint}?{urlencode(fields)}")
