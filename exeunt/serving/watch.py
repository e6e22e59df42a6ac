"""Is the server whole? Asked every few seconds by whoever supervises it: `exeunt serve`, and the container's process.

Triton never restarts a backend process that died, and goes on to say that it is ready. So two things are looked at: the
processes themselves (a dead one is found at once, and named), and a real inference through every member (which finds
one that hangs).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from exeunt.errors import ServingError
from exeunt.serving.processes import members

LOOK_EVERY_S, STARTING_EVERY_S = 0.5, 0.05
BACKEND = "the backend process of model"


@dataclass(slots=True)
class Watch:
    """What is watched, and how patiently.

    Attributes:
        group: process group of the server.
        ask: makes one inference per bag; raises ServingError.
        say: where to report.
        probe_every_s: between two inferences.
        probe_failures: in a row, that are too many.
        start_s: time until the first inference must have succeeded.
    """

    group: int
    ask: Callable[[], None]
    say: Callable[[str], None]
    probe_every_s: float = 10.0
    probe_failures: int = 3
    start_s: float = 600.0
    ready: bool = False
    _failed: int = 0
    _processes: dict[int, str] = field(default_factory=dict)

    def until(self, stop: threading.Event) -> str:
        """Watch until `stop` is set.

        Returns:
            what is wrong with the server, for people; "" after `stop`.
        """
        begun_s = probed_s = time.monotonic()
        while not stop.is_set():
            if problem := self.lost_process():
                return problem
            now_s = time.monotonic()
            if not self.ready or now_s - probed_s >= self.probe_every_s:
                if problem := self.look(stop):
                    return problem
                probed_s = time.monotonic()
                if not self.ready and probed_s - begun_s > self.start_s:
                    return f"no answer {self.start_s:g} s after the start"
            stop.wait(LOOK_EVERY_S if self.ready else STARTING_EVERY_S)
        return ""

    def lost_process(self) -> str:
        """Which process of the server has ended since the last look; "" where all are there."""
        named_before = self._processes if self.ready else {}  # while the server starts, a process may not be itself yet
        present = {pid: named_before.get(pid) or _what(pid) for pid in members(self.group)}
        lost = [what for pid, what in self._processes.items() if pid not in present]
        self._processes = present if not self.ready else self._processes | present
        # while the server starts, only backend processes are counted on: the rest of it may still change
        lost = [what for what in lost if self.ready or what.startswith(BACKEND)]
        if lost:
            return f"a process of the server has ended: {', '.join(lost)}"
        return "" if present else "no process of the server is left"

    def look(self, stop: threading.Event) -> str:
        """One inference; what is wrong once too many in a row have failed after the first success, else "".

        Where the inference waits, perhaps for a process that is dead, the processes are looked at all the same.
        """
        answer = _in_thread(self.ask)
        while not wait([answer], LOOK_EVERY_S).done:
            if stop.is_set():
                return ""
            if problem := self.lost_process():
                return problem
        try:
            answer.result()
        except ServingError as error:
            if self.ready:
                self._failed += 1
                self.say(f"inference {self._failed} of {self.probe_failures} in a row failed: {error}")
            return str(error) if self._failed >= self.probe_failures else ""
        if not self.ready:
            self.say("ready: a real inference succeeded")
        self._failed, self.ready = 0, True
        return ""


def _in_thread(work: Callable[[], None]) -> Future[None]:
    """Do some work in a thread that nobody needs to wait for."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
            future.set_result(None)
        except BaseException as error:  # whoever asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=run, name="exeunt-probe", daemon=True).start()
    return future


def _what(pid: int) -> str:
    """A process in words: the model that a backend process runs, else its command.

    A process that is just being made has no arguments yet, or those of its parent.
    """
    try:
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return f"process {pid}"
    folders = Path(words[1]).parts if len(words) > 1 else ()  # STUB MODEL/VERSION/FILE SHARED-MEMORY ...
    if Path(words[0]).name == "triton_python_backend_stub" and len(folders) >= 3:
        return f"{BACKEND} {folders[-3]} ({pid})"
    return f"{Path(words[0]).name or 'process'} ({pid})"
