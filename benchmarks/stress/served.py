"""A server as a person starts it, and callers who ask it all the time, whatever is done to its processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tritonclient import grpc

from exeunt.serving.processes import members
from tests.export.graphs import noise_rows

ROWS = noise_rows(2, 5, 16)
Outputs = dict[str, list[int] | None]  # by name


class Serving:
    """`exeunt serve` as a process, as a person starts it.

    Args:
        repository: with the bag `tiny`.
        folder: for its state, log and errors.
    """

    def __init__(self, repository: Path, folder: Path) -> None:
        line = [sys.executable, "-m", "exeunt.cli.main", "serve", str(repository), "--json"]
        line += ["--state-dir", str(folder / "state"), "--log", str(folder / "log")]
        self._errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self.ready = self.next_line()

    def next_line(self) -> dict[str, Any]:
        """What it says next: that it is ready, with process id and ports.

        Raises:
            RuntimeError: it has ended; with what it said on standard error.
        """
        assert self.process.stdout is not None
        if not (text := self.process.stdout.readline()):
            raise RuntimeError(f"the server said nothing more; on standard error: {self.errors()}")
        line: dict[str, Any] = json.loads(text)
        return line

    def pids(self, command: str) -> list[int]:
        """Processes of the server whose command line holds a text."""
        found = []
        for pid in members(self.ready["pid"]):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
            if command in words.split("--id=")[0]:
                found.append(pid)
        return found

    def region_name(self) -> str:
        """What its shared memory is called."""
        words = Path(f"/proc/{self.ready['pid']}/cmdline").read_text().split("\0")
        return next(word.split("=")[1] for word in words if word.startswith("--id="))

    def errors(self) -> str:
        """What it has said on standard error."""
        self._errors.seek(0)
        return self._errors.read()

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=120)
        self._errors.close()


class Load:
    """Callers who ask all the time.

    Attributes:
        waits_s: how long each call waited for an answer or an error.
        wrong: answers that were not the full vote.
        last_good_s: when the last good answer came, monotonic.
    """

    def __init__(self, url: str, callers: int = 4) -> None:
        self.waits_s: list[float] = []
        self.wrong: list[Outputs] = []
        self.last_good_s = 0.0
        self._stop = threading.Event()
        self._url = url
        self._expected: Outputs = {}
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def _call(self) -> None:
        while not self._stop.is_set():
            start_s = time.monotonic()
            outputs = None
            try:
                outputs = ask(self._url)
            except grpc.InferenceServerException:
                time.sleep(0.05)
            self.waits_s.append(time.monotonic() - start_s)
            if outputs is not None:
                if outputs["LABEL"] != self._expected["LABEL"]:
                    self.wrong.append(outputs)
                self.last_good_s = time.monotonic()

    def __enter__(self) -> Load:
        self._expected = ask(self._url)
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.waits_s) > 20, 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


def ask(url: str) -> Outputs:
    """The full votes of ROWS: LABEL, EXIT and REASON; None for one that is missing in the answer."""
    with grpc.InferenceServerClient(url) as client:
        image = grpc.InferInput("IMAGE", list(ROWS.shape), "FP32")
        image.set_data_from_numpy(ROWS)
        result = client.infer("tiny", [image], parameters={"exit": "never"}, client_timeout=40)
        arrays = {name: result.as_numpy(name) for name in ("LABEL", "EXIT", "REASON")}
        return {name: None if array is None else array.ravel().tolist() for name, array in arrays.items()}


def until(happened: Callable[[], bool], within_s: float) -> None:
    """Wait.

    Raises:
        TimeoutError: it has not happened within so many seconds.
    """
    end_s = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not within {within_s:g} s")
        time.sleep(0.05)
