"""A page on the loopback interface that shows a running bag, for hosts without Grafana: nothing to install, no state.

The browser keeps the last five minutes; this side only hands out the page and the bag's status file.
"""

from __future__ import annotations

import dataclasses
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

from exeunt.errors import ConfigError
from exeunt.hosting.status import find_status
from exeunt.serving.launch import HOST

PAGE = "dashboard.html"


def page() -> bytes:
    """The page, as shipped."""
    return resources.files("exeunt.serving").joinpath(PAGE).read_bytes()


def dashboard_server(state_dir: Path, bag: str, port: int) -> ThreadingHTTPServer:
    """An HTTP server on 127.0.0.1 that answers `/` and `/status.json`; the caller runs and closes it.

    Args:
        state_dir: of the server that is shown.
        bag: its name.
        port: 0 for a free one.

    Raises:
        ConfigError: the port cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if not _is_local(self.headers.get("Host", "")):
                # a page elsewhere could name this address by a DNS entry of its own, and read what is shown
                self._send(403, "text/plain", b"ask for 127.0.0.1 or localhost")
            elif path == "/":
                self._send(200, "text/html; charset=utf-8", page())
            elif path == "/status.json":
                self._send_status()
            else:
                self._send(404, "text/plain", b"no such page")

        def _send_status(self) -> None:
            try:
                status = find_status(state_dir, bag)
            except ConfigError as error:
                self._send(503, "text/plain; charset=utf-8", str(error).encode())
                return
            table = dataclasses.asdict(status) | {"age_s": time.time() - status.written_unix_s}
            self._send(200, "application/json", json.dumps(table).encode())

        def _send(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            # only its own scripts and styles; nothing from elsewhere, and no other page may frame it
            policy = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
            self.send_header("Content-Security-Policy", f"{policy}; frame-ancestors 'none'")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing: a line a second helps nobody."""

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--port {port}: {HOST}:{port} cannot be had ({error}); name a free port") from None


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine's loopback interface."""
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name in (HOST, "localhost", "[::1]")
