"""`exeunt gateway` as a person starts it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from exeunt.serving.pip_server import Server


class Gateway:
    """A gateway as a process, until the block ends.

    Args:
        repository: what is served.
        to_http: "HOST:PORT" of the server behind; likewise `to_grpc`.
        to_grpc: see `to_http`.
        options: further ones of the command.

    Attributes:
        http_url: "HOST:PORT" where it listens.
        grpc_url: likewise.
        models: that it lets through.
        process: it.
    """

    def __init__(self, repository: Path, to_http: str, to_grpc: str, *options: str) -> None:
        line = [sys.executable, "-m", "exeunt.cli.main", "gateway", str(repository), "--json", *options]
        line += ["--to-http", to_http, "--to-grpc", to_grpc]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.http_url, self.grpc_url, self.models = ready["http"], ready["grpc"], ready["models"]

    @classmethod
    def before(cls, server: Server, repository: Path, *options: str) -> Gateway:
        """One that stands in front of a server."""
        return cls(repository, server.http_url, server.grpc_url, *options)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            assert self.stop() == (0, {"status": "stopped", "drained": True}, "")

    def stop(self) -> tuple[int, dict[str, object], str]:
        """End it by SIGTERM: exit code, what it said last, what it said on standard error."""
        self.process.send_signal(signal.SIGTERM)
        output, errors = self.process.communicate(timeout=60)
        return self.process.returncode, json.loads(output), errors
