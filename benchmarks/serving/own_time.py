"""CPU time that controller, scheduler and tuner take of themselves, without a server."""

from __future__ import annotations

import cProfile
import dataclasses
import io
import itertools
import pstats
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from exeunt.deciding.request import Release, Request
from exeunt.engine.engine import Engine
from exeunt.engine.engine_host import EngineHost
from exeunt.engine.sessions import Session
from exeunt.hosting.assembly import make_controller
from exeunt.hosting.host import ControllerHost
from exeunt.serving.bags import bag_of


class _Inline(Engine):
    """The engine without threads: a worker's work is done by whoever calls `drive`."""

    def attach(self, host: EngineHost) -> None:
        self._attached = host

    def drive(self) -> None:
        """Run whatever is ready."""
        while True:
            with self._changed:
                run = self._scheduler.next_run(0)
            if run is None:
                return
            self._run(self._attached, run)


def own_time(repository: Path, bag: str, rows: np.ndarray) -> tuple[dict[str, float], str]:
    """CPU time of controller, scheduler and tuner per input, in this process, and a profile of it.

    The inputs are served by onnxruntime, and by its remembered outputs, with and without tuning. The latter times are
    the engine's own, with warm caches; timing every run by itself would cost more than what is to be measured.

    Args:
        repository: with the bag in engine mode.
        bag: its name.
        rows: [inputs, ...], one request each.

    Returns:
        ({"own_us", "tuning_us", "all_us"} per input, the last with the other two; cProfile's table).
    """
    opened_bag = bag_of(repository, bag)
    folder, manifest = opened_bag.folder, opened_bag.manifest
    manifest = dataclasses.replace(manifest, settings=dataclasses.replace(manifest.settings, workers=1))
    engine = _Inline(manifest, folder)
    keys = itertools.count()
    name = manifest.public_inputs[0].name
    host = ControllerHost(make_controller(manifest, folder), engine, _forget)

    def serve(batch: np.ndarray, tune: bool) -> None:
        for row in batch:
            host.submit(Request(next(keys), 1), {name: row[None]})
            engine.drive()
            job = host.controller.decisions.changes.retune() if tune else None
            if job is not None:
                host.controller.decisions.changes.adopt(job())

    def per_input_us(tune: bool, rounds: int) -> float:
        """Least of some rounds: the machine may be shared."""
        serve(rows[: len(rows) // 4], tune)
        spent_s = []
        for _ in range(rounds):
            began_s = time.thread_time()
            serve(rows, tune)
            spent_s.append(time.thread_time() - began_s)
        return min(spent_s) / len(rows) * 1e6

    all_us = per_input_us(True, 2)
    for session in {id(session_): session_ for session_ in _sessions(engine)}.values():
        _remember(session)
    own_us, tuned_us = per_input_us(False, 5), per_input_us(True, 5)
    profile = cProfile.Profile()
    profile.runcall(serve, rows, True)
    table = io.StringIO()
    pstats.Stats(profile, stream=table).strip_dirs().sort_stats("tottime").print_stats(40)
    return {"own_us": own_us, "tuning_us": max(0.0, tuned_us - own_us), "all_us": all_us}, table.getvalue()


def _forget(release: Release) -> None:
    """Nobody waits for the answers, and keeping them would make the garbage collector's work part of the figure."""


def _sessions(engine: Engine) -> list[Session]:
    segments = engine._segments
    steps = [step.session for member in segments._steps for step in member]
    return steps + [heads for heads in segments._heads if heads is not None]


def _remember(session: Session) -> None:
    """Answer with what the first run of as many rows said."""
    run = session.run
    outputs_by_size: dict[tuple[int, int], list[np.ndarray]] = {}

    def remembered(outputs: list[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        key = len(next(iter(feed.values()))), len(outputs)
        if key not in outputs_by_size:
            outputs_by_size[key] = run(outputs, feed)
        return outputs_by_size[key]

    session.run = remembered  # type: ignore[method-assign]
