"""The receiving end: every notification of Alertmanager, by receiver."""

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Notice:
    """One alert of one notification."""

    at: float
    receiver: str
    group: str
    status: str
    labels: dict
    annotations: dict

    @property
    def name(self):
        return self.labels["alertname"]


class Webhook:
    def __init__(self):
        self.notices = []
        notices = self.notices

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    notices.append(
                        Notice(
                            time.time(),
                            self.path.lstrip("/"),
                            body["groupKey"],
                            alert["status"],
                            alert["labels"],
                            alert["annotations"],
                        )
                    )
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, *receivers, **labels):
        """What came in, in order."""
        return [n for n in list(self.notices) if n.receiver in receivers and labels.items() <= n.labels.items()]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
