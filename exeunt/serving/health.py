"""Whether requests are welcome, for a balancer: a port of the supervisor's own that answers without asking the server.

    balancer --GET /--> 200 "ready": the last real inference succeeded
                        503 "starting", "leaving", or why the last inference failed

A balancer asks every replica about once a second. A real inference each time would cost a slow bag much of its host,
so the watchdog's last one counts. "leaving" is said some seconds before the drain refuses newcomers: a balancer that
has seen it sends nobody here any more, and no client ever sees a refusal.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from exeunt.errors import ConfigError

READY, STARTING, LEAVING = "ready", "starting", "leaving"
_CALL_S = 5.0  # a caller that says nothing must not hold a thread for ever


class Health:
    """What a balancer is answered; written by the supervisor, read by the port's threads."""

    def __init__(self) -> None:
        self.says = STARTING

    def welcome(self) -> None:
        """A real inference succeeded. Who is leaving goes on leaving."""
        if self.says != LEAVING:
            self.says = READY

    def turn_away(self, reason: str) -> None:
        """Requests should go elsewhere."""
        self.says = reason


@contextmanager
def health_port(health: Health, address: str, port: int) -> Iterator[None]:
    """Answer on a port until the block ends; for port 0 nothing listens.

    Raises:
        ConfigError: the port cannot be had.
    """
    if not port:
        yield
        return

    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # a server without a balancer starts sooner

    class Answer(BaseHTTPRequestHandler):
        timeout = _CALL_S
        wbufsize = -1  # one packet: a balancer hangs up as soon as it has seen the status

        def do_GET(self) -> None:
            text = health.says.encode(errors="replace")
            self.send_response(200 if text == READY.encode() else 503)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """A line a second would bury the server's own."""

    class Port(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A caller that hung up is none of the server's errors."""

    try:
        server = Port((address, port), Answer)
    except OSError as error:
        raise ConfigError(f"--health-port = {port}: {address}:{port} cannot be had ({error.strerror})") from None
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
