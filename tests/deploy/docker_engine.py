"""As much of a docker engine as `--runtime docker` talks to: HTTP on a unix socket, one container, nothing run."""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

IMAGE_ID = "sha256:" + "a" * 64


class Engine:
    """What the engine was asked, and how its container fares.

    Attributes:
        images: names that exist.
        created: body of the request that created the container.
        calls: "METHOD /path" in order.
        states: what the container says of itself, one after the other; the last one stays.
        log: the container's output.
        refuses: why no container can be started; "" = it can.
    """

    def __init__(self, images: tuple[str, ...], states: list[dict[str, Any]], log: bytes, refuses: str = "") -> None:
        self.images = images
        self.created: dict[str, Any] = {}
        self.calls: list[str] = []
        self.states = states
        self.log = log
        self.refuses = refuses

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON, or raw bytes, for one request."""
        path = re.sub(r"^/v[\d.]+", "", path).split("?")[0]
        self.calls.append(f"{method} {path}")
        if path.startswith("/images/"):
            name = path.removeprefix("/images/").removesuffix("/json")
            return (
                (200, {"Id": IMAGE_ID, "RepoTags": [name]})
                if name in self.images
                else (404, {"message": f"No such image: {name}"})
            )
        if path == "/containers/create":
            self.created = body
            return 201, {"Id": "c" * 64, "Warnings": []}
        if path.endswith("/json") and path.startswith("/containers/"):
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return 200, {
                "Id": "c" * 64,
                "Name": "/bold_test",
                "Image": IMAGE_ID,
                "State": state,
                "Config": {"Tty": True},
            }
        if path.endswith("/start") and self.refuses:
            return 500, {"message": self.refuses}
        if path.endswith("/logs"):
            return 200, self.log
        fixed = {"/_ping": b"OK", "/version": {"ApiVersion": "1.45"}, "/info": {"Runtimes": {"runc": {}}}}
        return (200, fixed[path]) if path in fixed else (204, b"")


@contextmanager
def docker_engine(socket: Path, engine: Engine) -> Iterator[str]:
    """Serve `engine` on a unix socket; gives DOCKER_HOST."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            pass

        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            status, answer = engine.answer(self.command, self.path, body)
            raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, bytes) else "application/json")
            if status != 204:
                self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw if status != 204 else b"")

        do_GET = do_POST = do_DELETE = do_HEAD = handle_one  # noqa: N815 - names that http.server asks for

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(str(socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"unix://{socket}"
        finally:
            server.shutdown()
            thread.join()
