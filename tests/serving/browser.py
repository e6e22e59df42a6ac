"""A headless Chromium, by its own debugging protocol over a pipe: JSON messages that end in a zero byte.

Nothing is installed beside Debian's `chromium`, and no port is opened.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

COMMANDS_FD, EVENTS_FD = 3, 4  # as --remote-debugging-pipe has them in the browser
ANSWER_S = 60.0


class Browser:
    """One page.

    Args:
        commands: descriptor to write to.
        events: descriptor to read from.

    Attributes:
        requested: URL of everything that the page has asked for.
        problems: what the page's console has said is wrong.
    """

    def __init__(self, commands: int, events: int) -> None:
        self.requested: list[str] = []
        self.problems: list[str] = []
        self._commands, self._events = commands, events
        self._number, self._buffer, self._session = 0, b"", ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command; its result. AssertionError for an error."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def value(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str, expected: Any, within_s: float = 60.0) -> None:
        """Wait until an expression has a value."""
        end = time.monotonic() + within_s
        while (value := self.value(expression)) != expected:
            assert time.monotonic() < end, f"{expression} is {value!r}, not {expected!r}"
            time.sleep(0.1)

    def _next(self) -> dict[str, Any]:
        """The next message; events are noted on the way."""
        while b"\0" not in self._buffer:
            assert select.select([self._events], [], [], ANSWER_S)[0], "the browser does not answer"
            piece = os.read(self._events, 2**16)
            assert piece, "the browser has ended"
            self._buffer += piece
        first, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(first)
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif message.get("method") == "Log.entryAdded":
            self.problems.append(params["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(params["exceptionDetails"]))
        return message


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile, until the block ends; skips where there is no Chromium."""
    binary = shutil.which("chromium")
    if binary is None:
        pytest.skip("no headless browser here: apt-get install chromium")
    (from_us, commands), (events, to_us) = os.pipe(), os.pipe()
    options = (
        "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking"
    )
    words = [binary, *options.split(), "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    # the shell puts the pipes where the browser looks for them
    line = ["bash", "-c", f'exec "$@" {COMMANDS_FD}<&{from_us} {EVENTS_FD}>&{to_us}', "bash", *words]
    with (profile / "browser.log").open("wb") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log, pass_fds=(from_us, to_us))
    os.close(from_us)
    os.close(to_us)
    try:
        yield Browser(commands, events)
    finally:
        os.close(commands)  # at the end of its pipe the browser ends
        os.close(events)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
