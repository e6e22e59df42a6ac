"""What deploy/haproxy does with HTTP requests whose replica is killed; before stand-ins, so that nothing else plays."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.deploy.balancer import haproxy, running_balancer
from tests.deploy.container import until

CALLERS, KILLS, SMALL, LARGE = 6, 4, 12_000, 100_000
ADDRESSES = [f"127.{os.getpid() % 250 + 2}.1.{number}" for number in (2, 3, 4)]


class StandIns:
    """Processes of tests/deploy/answering.py, by address."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[str, subprocess.Popen[str]] = {}

    def start(self, address: str) -> None:
        line = [sys.executable, "-m", "tests.deploy.answering", address]
        process = self._stack.enter_context(subprocess.Popen(line, stdout=subprocess.PIPE, text=True))
        self._stack.callback(process.kill)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        self._running[address] = process

    def kill(self, address: str) -> None:
        self._running[address].kill()
        self._running[address].wait()


class Callers:
    """Threads that post bodies of one size, and what they saw."""

    def __init__(self, url: str, size: int) -> None:
        self.answered, self.failed = 0, list[str]()
        self._url, self._body, self._ends = url, b"x" * size, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with closing(http.client.HTTPConnection(self._url, timeout=60)) as connection:
            while not self._ends.is_set():
                try:
                    connection.request("POST", "/v2/models/any/infer", self._body)
                    response = connection.getresponse()
                    response.read()
                except (OSError, http.client.HTTPException) as error:
                    self.failed.append(repr(error))
                    connection.close()
                    continue
                if response.status == 200:
                    self.answered += 1
                else:
                    self.failed.append(str(response.status))

    def close(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def killed_again_and_again(folder: Path, binary: str, size: int, buffer_bytes: int) -> Iterator[Callers]:
    """Three stand-ins, of which one after the other is killed under load and started again."""
    with ExitStack() as stack:
        stand_ins = StandIns(stack.enter_context(ExitStack()))  # of its own: those that start later end last, too
        for address in ADDRESSES:
            stand_ins.start(address)
        env = {"EXEUNT_BUFFER_BYTES": str(buffer_bytes)}
        balancer = stack.enter_context(running_balancer(folder, binary, env))
        balancer.names.addresses[:] = ADDRESSES
        until(balancer.healthy, 30)
        callers = stack.enter_context(closing(Callers(balancer.http, size)))
        for number in range(KILLS):
            answered_before = callers.answered
            until(lambda answered_before=answered_before: callers.answered > answered_before + 100, 60)
            stand_ins.kill(ADDRESSES[number % 3])
            answered_before = callers.answered
            until(lambda answered_before=answered_before: callers.answered > answered_before + 100, 60)
            stand_ins.start(ADDRESSES[number % 3])
        yield callers


@pytest.mark.parametrize("which", ["installed", "wheel"])
def test_what_fits_the_buffer_is_asked_again_and_nobody_notices(tmp_path: Path, which: str) -> None:
    with killed_again_and_again(tmp_path, haproxy(which), SMALL, 16_384) as callers:
        pass
    assert callers.failed == []


@pytest.mark.parametrize("which", ["installed", "wheel"])
def test_a_larger_buffer_keeps_larger_requests(tmp_path: Path, which: str) -> None:
    with killed_again_and_again(tmp_path, haproxy(which), LARGE, 262_144) as callers:
        pass
    assert callers.failed == []


def test_of_what_does_not_fit_at_most_what_was_in_flight_fails(tmp_path: Path) -> None:
    with killed_again_and_again(tmp_path, haproxy("installed"), LARGE, 16_384) as callers:
        pass
    assert len(callers.failed) <= KILLS * CALLERS
