"""A real Redis (or Valkey) server on loopback, and sockets that answer badly."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARIES = ("redis-server", "valkey-server")


class StoreServer:
    """A server process that can be killed and started again on the same port and folder."""

    def __init__(self, binary: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._binary, self._folder = binary, folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        fixed_options = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder), "--save", ""]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, *fixed_options, *options], stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1.0):
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the store did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It holds its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def store_server(folder: Path, *options: str) -> Iterator[StoreServer]:
    """A running server; skips where no binary or no client is installed, and says how to get them."""
    pytest.importorskip("redis", reason="NO REDIS CLIENT, adapter not tested: pip install 'exeunt[redis]'")
    binary = next(filter(None, map(shutil.which, BINARIES)), None)
    if binary is None:
        pytest.skip("NO STORE, adapter not tested: apt-get install redis-server")
    server = StoreServer(binary, folder)
    try:
        server.start(*options)
        yield server
    finally:
        server.kill()


@contextmanager
def odd_server(chunks: list[bytes], pause_s: float) -> Iterator[str]:
    """The URL of a socket that answers everything with the same bytes, one chunk after the other, endlessly."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                while not stop.is_set():
                    for chunk in chunks:
                        connection.sendall(chunk)
                        if stop.wait(pause_s):
                            return
            except OSError:
                return

    def accept() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            workers.append(threading.Thread(target=answer, args=(connection,)))
            workers[-1].start()

    workers = [threading.Thread(target=accept)]
    workers[0].start()
    try:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        for worker in list(workers):
            worker.join()
        listener.close()
