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

import numpy as np
from tritonclient import grpc

from exeunt.serving.processes import members
from tests.export.graphs import noise_rows

NAME = "tiny"
POOL = noise_rows(64, 5, 16)  # rows that calls are made of
ROWS = POOL[:2]
OUTPUTS = ("PROBABILITIES", "LABEL", "EXIT", "REASON")  # a plain ensemble has the first two
Outputs = dict[str, Any]  # name -> array [rows, ...], None where it is missing


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
        return pids_of(self.ready["pid"], command)

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


def pids_of(group: int, command: str) -> list[int]:
    """Processes of a server's group whose command line holds a text, before its options."""
    pids = []
    for pid in members(group):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
        if command in words.split("--id=")[0]:
            pids.append(pid)
    return pids


class Load:
    """Callers who ask all the time for full votes, every call with rows of its own.

    Where everybody sent the same rows, nobody would notice an answer that belongs to another.

    Args:
        url: "HOST:PORT" for gRPC.
        model: the bag, or its plain ensemble.
        callers: how many.

    Attributes:
        waits_s: how long each call waited for an answer or an error.
        errors: how many calls got one.
        wrong: answers that were not the full votes of the call's rows, and what was expected.
        last_good_s: when the last good answer came, monotonic.
    """

    def __init__(self, url: str, model: str = NAME, callers: int = 4) -> None:
        self.waits_s: list[float] = []
        self.errors = 0
        self.wrong: list[dict[str, Any]] = []
        self.last_good_s = 0.0
        self._stop = threading.Event()
        self._url, self._model = url, model
        self._votes = np.zeros(0)
        self._threads = [threading.Thread(target=self._call, args=(seed,)) for seed in range(callers)]

    def _call(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not self._stop.is_set():
            pool_rows = rng.choice(len(POOL), size=2, replace=False)
            start_s = time.monotonic()
            outputs = None
            try:
                outputs = ask(self._url, POOL[pool_rows], self._model)
            except grpc.InferenceServerException:
                self.errors += 1
                time.sleep(0.05)
            self.waits_s.append(time.monotonic() - start_s)
            if outputs is None:
                continue
            if is_vote(outputs, self._votes[pool_rows]):
                self.last_good_s = time.monotonic()
            else:
                self.wrong.append(in_words(outputs) | {"rows": pool_rows.tolist(), "of_rows": self._rows_of(outputs)})

    def _rows_of(self, outputs: Outputs) -> list[list[int]]:
        """Of which rows of the pool the votes of an answer are."""
        votes = outputs["PROBABILITIES"]
        return [] if votes is None else [np.flatnonzero(_same(self._votes, vote)).tolist() for vote in votes]

    def __enter__(self) -> Load:
        parts = [ask(self._url, POOL[start : start + 8], self._model) for start in range(0, len(POOL), 8)]
        self._votes = np.concatenate([part["PROBABILITIES"] for part in parts])
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.waits_s) > 20, 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


def ask(url: str, rows: np.ndarray = ROWS, model: str = NAME) -> Outputs:
    """The full votes of rows; None for an output that is missing in the answer."""
    with grpc.InferenceServerClient(url) as client:
        image = grpc.InferInput("IMAGE", list(rows.shape), "FP32")
        image.set_data_from_numpy(rows)
        wishes = {"exit": "never"} if model == NAME else None
        result = client.infer(model, [image], parameters=wishes, client_timeout=40)
        return {name: result.as_numpy(name) for name in OUTPUTS[: None if model == NAME else 2]}


def is_vote(outputs: Outputs, votes: np.ndarray) -> bool:
    """Whether an answer has all its outputs, and says what it should.

    Args:
        outputs: of the answer.
        votes: float32 [rows, classes], of its rows.
    """
    if any(output is None or len(output) != len(votes) for output in outputs.values()):
        return False
    is_full = "REASON" not in outputs or not outputs["REASON"].any()
    labels_fit = (outputs["LABEL"].ravel() == votes.argmax(axis=1)).all()
    return bool(is_full and labels_fit and _same(outputs["PROBABILITIES"], votes).all())


def in_words(outputs: Outputs) -> dict[str, Any]:
    """An answer for people and JSON."""
    return {name: None if output is None else output.round(4).tolist() for name, output in outputs.items()}


def _same(votes: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.isclose(votes, others, rtol=1e-3, atol=1e-5).all(axis=1)


def until(condition: Callable[[], bool], within_s: float) -> None:
    """Wait.

    Raises:
        TimeoutError: it has not happened within so many seconds.
    """
    end_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not within {within_s:g} s")
        time.sleep(0.05)
