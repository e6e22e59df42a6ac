"""Put a host together from a repository's version folder: manifest, calibration, tuner, controller, housekeeping."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exeunt.contract import CALIBRATION_FILE, MANIFEST_FILE
from exeunt.deciding.calibration import load_calibration
from exeunt.deciding.controller import Controller
from exeunt.deciding.request import Release
from exeunt.hosting.guard import Guard
from exeunt.hosting.host import GIL_SWITCH_S, ControllerHost, Runner
from exeunt.hosting.housekeeping import Housekeeping
from exeunt.hosting.metrics import MetricSample
from exeunt.hosting.state_files import STATE_DIR_VARIABLE, STATE_URL_VARIABLE
from exeunt.manifest import Manifest
from exeunt.tuning.registry import make_tuner
from exeunt.tuning.tuner import Setup

if TYPE_CHECKING:  # a server starts sooner without what its bag does not use
    from exeunt.hosting.calls.heads_at_taps import HeadsAtTaps
    from exeunt.hosting.ramp_learning import RampLearning
    from exeunt.hosting.shared_state import SharedState
    from exeunt.records.parquet import FeedbackLog


def read_manifest(folder: Path, overrides: Mapping[str, str]) -> Manifest:
    """The manifest of `NAME_exit/1`, its settings overridden by config.pbtxt's parameters and the environment.

    Raises:
        ConfigError: no or damaged manifest; an unknown parameter or a value that is not allowed.
    """
    manifest = Manifest.load(folder / MANIFEST_FILE)
    table = dict(overrides)
    for key, variable in (("state_dir", STATE_DIR_VARIABLE), ("state_url", STATE_URL_VARIABLE)):
        if os.environ.get(variable):
            table.setdefault(key, os.environ[variable])
    where = f"{folder.parent / 'config.pbtxt'}: parameters"
    return dataclasses.replace(manifest, settings=manifest.settings.overridden(table, where))


def make_controller(manifest: Manifest, folder: Path) -> Controller:
    """The controller of a bag, with its tuner started from the calibration data in `folder`.

    Raises:
        ConfigError: no or damaged calibration file; a tuner option that is not allowed.
    """
    settings = manifest.settings
    calibration = load_calibration(folder / CALIBRATION_FILE, manifest)
    tuner = make_tuner(Setup(manifest.costs(), settings, calibration, settings.seed))
    return Controller(manifest, tuner, np.random.default_rng(settings.seed))


def make_heads(manifest: Manifest, folder: Path, guard: Guard) -> HeadsAtTaps | None:
    """The ramps' heads of a bag in ensemble mode whose taps bring features; None for all others.

    Raises:
        ConfigError: the file of heads is missing, damaged, or does not fit the bag.
    """
    if not manifest.controller_heads:
        return None
    from exeunt.hosting.calls.heads_at_taps import HeadsAtTaps

    return HeadsAtTaps.load(manifest, folder, guard)


def make_learning(manifest: Manifest, folder: Path, runner: Runner, log: Callable[[str], None]) -> RampLearning | None:
    """What has a bag's ramps learn in service, wired to its runner; None where nothing is to learn.

    Raises:
        ConfigError: the bag was not exported to learn.
    """
    if not manifest.settings.learn_ramps:
        return None
    from exeunt.hosting.ramp_learning import LearningRunner, RampLearning

    assert isinstance(runner, LearningRunner)
    learning = RampLearning(manifest, folder, log)
    if not learning.ramps:
        log("learn_ramps: no exit of this bag votes by a ramp, so there is nothing to learn")
        return None
    runner.learn_from(learning.ramps, learning.finished.add)
    return learning


class HostedBag:
    """A controller at work: host, housekeeping and, where configured, the recording of feedback.

    Args:
        controller: made by `make_controller`.
        runner: runs the members.
        reply: takes every Release.
        publish: takes every metrics sample about once a second.
        log: takes lines for the operator.
        guard: of background threads and replies.
        counts: metrics family -> gives its numbers by name, of what the caller counts.
        learning: of ramps; None where they do not learn.

    Raises:
        ConfigError: records_dir cannot be written, or another process records the same bag there.
    """

    def __init__(
        self,
        controller: Controller,
        runner: Runner,
        reply: Callable[[Release], None],
        publish: Callable[[list[MetricSample]], None],
        log: Callable[[str], None],
        guard: Guard,
        counts: Mapping[str, Callable[[], dict[str, float]]],
        learning: RampLearning | None = None,
    ) -> None:
        sys.setswitchinterval(GIL_SWITCH_S)
        settings = controller.settings
        numbers = {"exeunt_runner": runner.metrics, "exeunt_thread_faults_total": lambda: guard.faults, **counts}
        self._records = _record(controller) if settings.records_dir else None
        if self._records is not None:
            numbers["exeunt_records"] = self._records.metrics
        self.host = ControllerHost(controller, runner, reply, guard)
        state_dir = Path(settings.state_dir) if settings.state_dir else None
        flush = self._records.flush if self._records is not None else lambda: True
        shared = _share(self.host, state_dir, log)
        if shared is not None:
            numbers["exeunt_store"] = shared.metrics
        self._learning = learning
        if learning is not None:
            numbers["exeunt_ramps"] = learning.metrics
        obey = None if learning is None else learning.obey
        self._housekeeping = Housekeeping(self.host, state_dir, numbers, publish, log, flush, shared, obey)
        self._housekeeping.restore()
        if learning is not None:
            learning.start(self.host)
        elif controller.tuner.heads_version:
            from exeunt.hosting.ramp_learning import forget_heads

            with self.host.lock:
                forget_heads(controller)
        self.host.start()
        self._housekeeping.start()

    def stop(self, drain_s: float) -> None:
        """Answer what is left within `drain_s`, save what was learnt, stop the threads."""
        self.host.drain(drain_s)
        if self._learning is not None:
            self._learning.close()
        self._housekeeping.close()
        self.host.close()
        if self._records is not None:
            self._records.close()


def _share(host: ControllerHost, state_dir: Path | None, log: Callable[[str], None]) -> SharedState | None:
    """Share state with other replicas where there is a store and something to share; redis is needed only here."""
    manifest, tuner = host.controller.manifest, host.controller.tuner
    if not manifest.settings.state_url:
        return None
    if not tuner.shareable_budgets():
        log(f"state_url: tuner {tuner.name!r} has nothing to share with other replicas; only 'budget' has")
        return None
    from exeunt.hosting.shared_state import SharedState
    from exeunt.sharing.redis_store import RedisStore

    return SharedState(RedisStore(manifest.settings.state_url, manifest.content_hash), host, state_dir, log)


def _record(controller: Controller) -> FeedbackLog:
    """Record feedback; pyarrow is needed only here."""
    from exeunt.records.parquet import FeedbackLog
    from exeunt.records.record import About

    log = FeedbackLog(Path(controller.settings.records_dir), About.of(controller.manifest))
    controller.decisions.on_over.append(log.add)
    return log
