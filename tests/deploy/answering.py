"""A process that stands in for a replica where the balancer alone is looked at: python -m tests.deploy.answering IP

It answers every request on the ports of a replica's HTTP and health, after a while, and knows nothing of bags.
"""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HTTP_PORT, HEALTH_PORT = 8000, 8003
TAKES_S = 0.02
ANSWER = b'{"outputs": [{"name": "LABEL"}]}'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(TAKES_S)
        self._answer()

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """The balancer hangs up as soon as it has seen a health check's status."""


if __name__ == "__main__":
    servers = [Server((sys.argv[1], port), Handler) for port in (HTTP_PORT, HEALTH_PORT)]
    threading.Thread(target=servers[1].serve_forever, daemon=True).start()
    print("ready", flush=True)
    servers[0].serve_forever()
