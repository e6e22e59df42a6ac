"""How many files and functions of exeunt a one-row request passes: `python -m benchmarks.request_path REPOSITORY`.

Traced in this process, from the host that the Triton backend calls to the reply and the feedback behind it, after a
warm-up: a row whose caller wants the full vote, and one that may leave early. In ensemble mode the members' votes are
handed in as the taps do; Triton's part and the backend's own file (`exit_controller/model.py`, in ensemble mode also
`bag_runner.py`) come on top.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from exeunt.bag_stages import BagStages
from exeunt.deciding.request import ParsedOptions, Release, Request
from exeunt.deciding.ticket import Ticket
from exeunt.hosting.assembly import make_controller
from exeunt.hosting.calls.bag_calls import BagCalls
from exeunt.hosting.host import ControllerHost, Inputs, Runner
from exeunt.manifest import Manifest
from exeunt.serving.bags import bag_of

ROOT = Path(__file__).parents[1]
WARM_UP = 20


class Taps:
    """Hands in random votes exit by exit, under a secret, as NAME_bag's taps do."""

    at_work = 0
    plain_tickets = None
    workers = 1

    def __init__(self, manifest: Manifest) -> None:
        self._classes = manifest.classes
        self._stages = BagStages(manifest)
        self._calls = BagCalls(manifest)

    def attach(self, host: ControllerHost) -> None:
        """See Runner."""
        self._host = host

    def start(self, ticket: Ticket, inputs: Inputs) -> None:
        """See Runner; every tap at once."""
        (call,) = self._stages.calls(ticket.requested_exits, staged=False)
        secret = self._calls.open(ticket.rows, call.pairs, ticket)
        shape = (ticket.rows, self._classes)
        for tap in call.taps:
            votes = {pair: np.full(shape, 1.0 / shape[1], dtype=np.float32) for pair in tap.pairs}
            _, fresh = self._calls.take(np.full((ticket.rows, 1), secret, dtype=np.int64), votes)
            if fresh:
                self._host.arrived(ticket.id, fresh)
        self._calls.close(secret)

    def close(self) -> None:
        """See Runner."""

    def metrics(self) -> dict[str, float]:
        """See Runner."""
        return {}


def traced(repository: Path, options: ParsedOptions) -> tuple[str, int, set[str], set[tuple[str, str]]]:
    """Mode, exit that answered, files and (file, function) of one request."""
    bag = bag_of(repository)
    manifest = dataclasses.replace(bag.manifest, settings=dataclasses.replace(bag.settings, workers=1))
    files, functions = set[str](), set[tuple[str, str]]()
    counting = threading.Event()

    def note(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if counting.is_set() and event == "call" and file.startswith(str(ROOT / "exeunt")):
            files.add(str(Path(file).relative_to(ROOT)))
            functions.add((file, frame.f_code.co_qualname))

    runner: Runner
    threading.setprofile(note)  # of the threads that are started from here on
    if manifest.mode == "engine":
        from exeunt.engine.engine import Engine

        runner = Engine(manifest, bag.folder)
    else:
        runner = Taps(manifest)
    replies: list[Release] = []
    host = ControllerHost(make_controller(manifest, bag.folder), runner, replies.append)
    host.start()
    inputs = {tensor.name: np.zeros((1, *np.abs(tensor.dims)), dtype=tensor.dtype) for tensor in manifest.inputs}

    for number in range(WARM_UP + 1):
        if number == WARM_UP:
            counting.set()
            sys.setprofile(note)
        host.submit(Request(number, 1, options), inputs)
        while len(replies) <= number or not host.controller.idle:
            time.sleep(0.001)
    sys.setprofile(None)
    counting.clear()
    threading.setprofile(None)
    host.close()
    answer = replies[-1].answer
    assert answer is not None
    return manifest.mode, int(answer.exit[0]), files, functions


def main() -> None:
    """Trace and print."""
    options_by_name = {"full vote": ParsedOptions(never=True), "may leave": ParsedOptions()}
    files_by_name: dict[str, set[str]] = {}
    for name, options in options_by_name.items():
        mode, exit_, files_by_name[name], functions = traced(Path(sys.argv[1]), options)
        files = len(files_by_name[name])
        print(f"{mode} mode, {name}: {files} files, {len(functions)} functions; answered at exit {exit_}")
    for file in sorted(set().union(*files_by_name.values())):
        by = [name for name, files in files_by_name.items() if file in files]
        print(f"  {file}" + (f" ({by[0]} only)" if len(by) == 1 else ""))


if __name__ == "__main__":
    main()
