"""The housekeeping: files and metrics beside serving.

A drain is looked for every 50 ms; control, status and metrics come once a second, the state every 5 s.

Nothing here is on a request's path. A file that cannot be written or obeyed is logged once per cause and counted;
serving goes on with what was good last.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exeunt.contract import Reason
from exeunt.errors import ConfigError
from exeunt.hosting.control import Control, ControlWatch, control_path
from exeunt.hosting.host import ControllerHost
from exeunt.hosting.metrics import MetricSample, samples
from exeunt.hosting.obeying import apply_control
from exeunt.hosting.state import StateFile
from exeunt.hosting.state_files import DRAIN_SUFFIX, DRAINED_SUFFIX
from exeunt.hosting.status import Status, status_path, write_status
from exeunt.reading import reading

if TYPE_CHECKING:  # loaded only where there is a store
    from exeunt.hosting.shared_state import SharedState

_ROUND_S = 0.05  # how soon a drain is noticed
_STATUS_EVERY_S = 1.0
_STATE_EVERY_S = 5.0


class Housekeeping:
    """Keeps a host's files.

    Args:
        host: what is kept.
        state_dir: folder of the files; None keeps none.
        numbers: metrics family -> gives its numbers by name.
        publish: takes every metrics sample about once a second.
        log: takes one line of text; for what an operator should see.
        flush: writes what else must be on disk before the server is stopped; called at the end of a drain.
        shared: what is shared with other replicas; None shares nothing.
        obey: takes a changed control, too; a ConfigError of it means that the control cannot be obeyed.
    """

    def __init__(
        self,
        host: ControllerHost,
        state_dir: Path | None,
        numbers: Mapping[str, Callable[[], dict[str, float]]],
        publish: Callable[[list[MetricSample]], None],
        log: Callable[[str], None],
        flush: Callable[[], object] = lambda: None,
        shared: SharedState | None = None,
        obey: Callable[[Control], None] | None = None,
    ) -> None:
        self._host = host
        self._controller = host.controller
        self._dir = state_dir
        self._numbers = numbers
        self._publish = publish
        self._log = log
        self._flush = flush
        self._shared = shared
        self._also_obey = obey
        self._drained = False
        self._logged: set[str] = set()
        self._control = Control()
        self._control_error = ""
        self._started_unix_s = time.time()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exeunt-housekeeping", daemon=True)
        manifest = self._controller.manifest
        self._hash = manifest.content_hash
        self._state = None if state_dir is None else StateFile(state_dir, self._hash)
        self._watch = None
        if state_dir is not None:
            path = control_path(state_dir, self._hash)
            settings = manifest.settings
            least = settings.least_finish_probability
            self._watch = ControlWatch(path, len(manifest.exits), settings.service_classes, least)

    def restore(self) -> None:
        """Restore the learnt state and take over the control file, before the first request.

        Raises:
            ConfigError: another server keeps this bag's state in the same folder.
        """
        restored = self._restore()
        self._obey()
        if self._shared is not None:
            self._host.guard.run("store", partial(self._shared.start, restored))
        if self._dir is not None:
            for suffix in (DRAIN_SUFFIX, DRAINED_SUFFIX):  # left behind by an earlier server
                with contextlib.suppress(OSError):
                    self._path(suffix).unlink(missing_ok=True)

    def start(self) -> None:
        """Write a first status, so that whoever sees the server ready finds one, and start the thread."""
        self._host.guard.run("status", self._tell_status)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and save the state as that of an orderly stop. Call after the host has drained."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        guard = self._host.guard
        guard.run("last save", lambda: self._save(clean=self._controller.idle))
        if self._shared is not None:
            if self._controller.idle and not self._drained:
                guard.run("last handing over", partial(self._shared.hand_over, self._save))
            guard.run("store", self._shared.close)
        self._drained = True
        guard.run("last metrics", self._tell_metrics)
        guard.run("last status", self._tell_status)
        if self._state is not None:
            self._state.release()

    def _run(self) -> None:
        """Each duty has a guard of its own: a control file that cannot be read must not keep back the metrics."""
        guard = self._host.guard
        status_due_s = state_due_s = time.monotonic()
        while not self._stop.wait(_ROUND_S):
            now_s = time.monotonic()
            guard.run("drain", self._drain_if_asked)
            if now_s >= status_due_s:
                status_due_s = now_s + _STATUS_EVERY_S
                guard.run("control", self._obey)
                guard.run("metrics", self._tell_metrics)
                guard.run("status", self._tell_status)
            if now_s >= state_due_s:
                state_due_s = now_s + _STATE_EVERY_S
                guard.run("save", lambda: self._save(clean=self._drained))  # after a drain nothing is learnt any more
            if self._shared is not None:
                guard.run("store", partial(self._shared.round, self._save))

    def _path(self, suffix: str) -> Path:
        assert self._dir is not None
        return self._dir / f"{self._hash}{suffix}"

    def _once(self, line: str) -> None:
        """Log a line unless it was the last of its kind."""
        if line not in self._logged:
            self._logged.add(line)
            self._log(line)

    def _restore(self) -> bool:
        """Take over the saved state into a tuner of its own, so that one that does not fit changes nothing.

        Returns:
            True if there was one that fits.
        """
        if self._state is None:
            return False
        try:
            self._state.claim()
        except OSError as error:
            self._log(f"exit.state_dir cannot be written, nothing that is learnt will be kept: {error}")
        tuner = type(self._controller.tuner)(self._controller.tuner.setup)
        try:
            saved = self._state.load(tuner.name)
            if saved is None:
                return False
            state, clean = saved
            clean = clean and self._marked_used(state)
            with reading(self._state.path, "saved state"):
                tuner.restore(state, clean)
        except ConfigError as error:
            self._log(f"learnt state not restored, starting anew: {error}")
            return False
        with self._host.lock:
            self._controller.tuner = tuner
            budgets = tuner.shareable_budgets().values()
            for counters, budget in zip(self._controller.counters.by_class, budgets, strict=False):
                counters.received = max(0.0, budget.reserve)
        self._log(f"learnt state restored from {self._state.path}")
        return True

    def _marked_used(self, state: dict[str, Any]) -> bool:
        """Whether the savings in a state may be spent: only if the file says from now on that they are spent."""
        assert self._state is not None
        try:
            self._state.mark_used(state, self._controller.tuner.name)
        except OSError as error:
            self._log(f"starting without what was saved up, since that cannot be marked as used: {error}")
            return False
        return True

    def _save(self, clean: bool) -> None:
        if self._state is None:
            return
        clean = clean and (self._shared is None or self._shared.settled)
        tuner = self._controller.tuner
        with self._host.lock:
            state = tuner.state()
        try:
            self._state.save(state, tuner=tuner.name, clean=clean)
        except OSError as error:
            self._once(f"learnt state not saved, the last good one stays: {error}")

    def _obey(self) -> None:
        """Take over a changed control file; one that cannot be obeyed changes nothing."""
        if self._watch is None:
            return
        try:
            control = self._watch.poll()
        except (ConfigError, OSError) as error:
            self._control_error = str(error)
            self._once(f"control file not obeyed, the last good one stays: {error}")
            return
        if control is not None:
            self._control, self._control_error = control, ""
            with self._host.lock:
                apply_control(self._controller, control)
            self._log(f"control file version {control.version} obeyed")
            try:
                if self._also_obey is not None:
                    self._also_obey(control)
            except ConfigError as error:
                self._control_error = str(error)
                self._once(f"control file obeyed but for one thing: {error}")

    def _drain_if_asked(self) -> None:
        """Where somebody is about to stop the server: finish what was accepted, then say so."""
        if self._dir is None or self._drained or not self._path(DRAIN_SUFFIX).exists():
            return
        emptied = self._host.drain(self._controller.settings.drain_s)
        self._flush()
        self._drained = True
        self._save(clean=True)
        if self._shared is not None:
            self._host.guard.run("handing over", partial(self._shared.hand_over, self._save))
        self._log("drained: everything accepted was answered" if emptied else "drained: the rest got UNAVAILABLE")
        self._path(DRAINED_SUFFIX).touch()
        self._path(DRAIN_SUFFIX).unlink(missing_ok=True)
        self._tell_status()

    def _tell_metrics(self) -> None:
        numbers = {family: read() for family, read in self._numbers.items()}
        with self._host.lock:
            series = samples(self._controller, numbers)
        self._publish(series)

    def _tell_status(self) -> None:
        if self._dir is None:
            return
        with self._host.lock:
            status = self._status()
        try:
            write_status(status_path(self._dir, self._hash), status)
        except OSError as error:
            self._once(f"status not written: {error}")

    def _status(self) -> Status:
        controller = self._controller
        counters, losses = controller.counters, controller.tuner.class_losses
        names = controller.settings.classes_of_service
        counts = {
            "promised_rows_all": float(counters.promised_rows),
            "finished_rows": float(counters.finished_rows),
            "early_rows": float(counters.early_rows),
            "losses": counters.losses,
            "abandoned_rows": float(counters.abandoned_rows),
            "expected_losses": counters.expected_losses,
        }
        ramps = {f"ramps_{name}": value for name, value in self._numbers.get("exeunt_ramps", dict)().items()}
        return Status(
            bag=controller.manifest.bag,
            content_hash=self._hash,
            pid=os.getpid(),
            started_unix_s=self._started_unix_s,
            written_unix_s=time.time(),
            tuner=controller.tuner.name,
            max_loss=losses[0],
            service_classes=dict(zip(names[1:], losses[1:], strict=True)),
            exits_off=self._control.exits_off,
            feedback=controller.decisions.coins.feedback,
            active=tuple(bool(ticket) for ticket in controller.active()),
            thresholds=tuple(float(threshold) for threshold in controller.tuner.thresholds()),
            answers=tuple({r.name.lower(): int(row[r]) for r in Reason} for row in counters.answers),
            metrics={**counts, **controller.tuner.metrics(), **ramps},
            tickets_in_flight=len(controller.tickets),
            waiting_rows=controller.waiting_rows,
            control_version=self._control.version,
            control_error=self._control_error,
            stopped=self._drained,
        )
