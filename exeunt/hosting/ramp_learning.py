"""Ramps that learn in service: the thread that gathers finished rows, has jobs done, and puts new heads in place.

    the runner of members --finished tickets--> queue --this thread--> Learner --job--> a process of its own
                                                                          |
                            heads in use, on disk and in the controller <-+- outcome

On a request's path there is nothing but the queue, and that after the last answer of a ticket.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from exeunt.deciding.controller import Controller
from exeunt.deciding.heads import Heads, Pair
from exeunt.deciding.ticket import Ticket
from exeunt.errors import ConfigError
from exeunt.hosting.control import Control, control_path, read_control
from exeunt.hosting.finished_rows import FinishedRows
from exeunt.hosting.host import ControllerHost
from exeunt.hosting.job_process import JobError, run_in_process
from exeunt.learning.files import HeadsFile, load_exported, load_heads, save_heads
from exeunt.learning.kept_rows import load_rows, save_rows
from exeunt.learning.learner import Bounds, Change, Learner
from exeunt.learning.vote_structure import VoteStructure
from exeunt.manifest import Manifest
from exeunt.records.feedback import Feedback

HEADS_SUFFIX = ".heads.npz"
APPLY_SUFFIX = ".heads.apply.npz"
ROWS_SUFFIX = ".rows.npz"
_ROUND_S = 0.25
_KEEP_EVERY_S = 300.0


@runtime_checkable
class LearningRunner(Protocol):
    """A runner that can hand over features and votes of finished tickets."""

    def learn_from(self, ramps: frozenset[Pair], take: Callable[[Ticket, dict[Pair, np.ndarray]], None]) -> None:
        """Hand over features of `ramps` and final votes, ticket by ticket; said once, before the first."""


class RampLearning:
    """Learning of one bag.

    Args:
        manifest: of the bag; its settings rule.
        folder: version folder of NAME_exit.
        log: takes lines for the operator.

    Attributes:
        ramps: (member, depth) of the ramps that can learn.
        finished: takes what finished tickets have shown.

    Raises:
        ConfigError: the bag was not exported to learn.
    """

    def __init__(self, manifest: Manifest, folder: Path, log: Callable[[str], None]) -> None:
        settings = manifest.settings
        exported = load_exported(folder, manifest)
        bounds = Bounds(
            most_bytes=int(1e6 * settings.learn_memory_mb),
            most_age_us=int(1e6 * settings.learn_max_age_s),
            cpu_share=settings.learn_cpu_share,
        )
        self.ramps: frozenset[Pair] = frozenset(exported)
        self._manifest = manifest
        self._learner = Learner(VoteStructure.of(manifest), exported, bounds, manifest.classes, settings.seed)
        self._dir = Path(settings.state_dir) if settings.state_dir else None
        self._log = log
        self._command = 0
        self._restore_heads()
        self._control: Control | None = None  # that came before the start
        self.finished = FinishedRows(manifest, self.ramps)
        self._lock = threading.Lock()  # of learner and command; never held while a job runs
        self._serving = threading.Lock()  # of whoever puts heads in place, so that the newest come last
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exeunt-ramps", daemon=True)
        self._host: ControllerHost | None = None

    def start(self, host: ControllerHost) -> None:
        """Serve with the heads of the last time, start the thread; to be called when the tuner's state is restored."""
        self._host = host
        learnt_about = host.controller.tuner.heads_version
        heads = self._learner.heads
        if learnt_about == heads.version:
            with host.lock:
                host.controller.decisions.in_use.start(heads)
        else:  # a crash came between, or a file is gone: nothing is known of these heads
            heads = Heads(max(learnt_about, heads.version) + 1, heads.table)
            self._learner.heads = heads
            self._serve_with(Change.unknown(heads, len(self._manifest.exits)), every=True)
        if self._control is not None:
            self._host.guard.run("control", partial(self.obey, self._control))
        if self._dir is not None and self._manifest.settings.learn_keep_rows:
            self._host.guard.run("kept rows", self._restore_rows)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and its job; keep the rows where that is asked for."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._host is not None:
            self._host.guard.run("kept rows", self._keep_rows)

    def obey(self, control: Control) -> None:
        """Freeze or go on, and do the newest command with heads unless it is done.

        Raises:
            ConfigError: there are no such heads.
        """
        if self._host is None:
            self._control = control
            return
        with self._serving:
            with self._lock:
                self._learner.frozen = self.finished.closed = control.ramps_frozen
                if control.ramps_number <= self._command or not control.ramps:
                    return
                self._command = control.ramps_number  # once, also where it cannot be done
                change = self._learner.replace(self._heads_for(control.ramps).table)
            self._serve_with(change)

    def metrics(self) -> dict[str, float]:
        """Numbers for operators."""
        with self._lock:
            return self._learner.metrics() | {"left_out_rows_total": float(self.finished.left_out_rows)}

    def _heads_for(self, command: str) -> Heads:
        if command == "exported":
            return Heads()
        if command == "previous":
            if self._learner.previous is None:
                raise ConfigError("ramps: there are no heads before those in use; allowed now: exported, apply")
            return self._learner.previous
        path = self._path(APPLY_SUFFIX)
        stored = load_heads(path, self._manifest)
        if stored is None:
            raise ConfigError(f"{path}: no such file; `exeunt control NAME --apply-ramps FILE` puts it there")
        if strange := stored.heads.table.keys() - self.ramps:
            raise ConfigError(f"{path}: holds a head of (member, depth) {min(strange)}, which cannot learn in this bag")
        return stored.heads

    def _path(self, suffix: str) -> Path:
        if self._dir is None:
            raise ConfigError("ramps: this server has no state_dir, so there are no files of heads")
        return self._dir / f"{self._manifest.content_hash}{suffix}"

    def _restore_heads(self) -> None:
        """Heads, and the last command that was obeyed; where they are lost, old commands are not obeyed again."""
        if self._dir is None:
            return
        try:
            heads_file = load_heads(self._path(HEADS_SUFFIX), self._manifest)
        except ConfigError as error:
            self._log(f"learnt heads not restored, starting with the exported ones: {error}")
            heads_file = None
        if heads_file is not None:
            self._learner.heads, self._learner.previous = heads_file.heads, heads_file.previous
            self._command = heads_file.command
            return
        with contextlib.suppress(ConfigError):  # whoever reads it to obey it says what is wrong with it
            self._command = read_control(control_path(self._dir, self._manifest.content_hash)).ramps_number

    def _serve_with(self, change: Change, every: bool = False) -> None:
        """Put heads in place: on disk first, then for all tickets to come. `every`: of no exit with ramps is known."""
        assert self._host is not None
        if self._dir is not None:
            heads_file = HeadsFile(change.heads, self._learner.previous, self._command)
            try:
                save_heads(self._path(HEADS_SUFFIX), heads_file, self._manifest)
            except OSError as error:
                self._log(f"heads version {change.heads.version} not saved, they end with this process: {error}")
        depths = [exit_.depths for exit_ in self._manifest.exits]
        feedback = replace(Feedback.observed(change.labels, change.confidence), q=change.q)
        with self._host.lock:
            decisions = self._host.controller.decisions
            if every:
                changed = np.array([any((m, d) in self.ramps for m, d in enumerate(exit_)) for exit_ in depths])
            else:
                changed = change.heads.exits(depths, decisions.in_use.heads)
            decisions.changes.set_heads(change.heads, changed, feedback)
        self._log(f"ramps: heads version {change.heads.version} in use")

    def _run(self) -> None:
        assert self._host is not None
        guard, kept_at_s = self._host.guard, 0.0
        while not self._stop.wait(_ROUND_S):
            guard.run("ramps", self._round)
            kept_at_s += _ROUND_S
            if kept_at_s >= _KEEP_EVERY_S:
                kept_at_s = 0.0
                guard.run("kept rows", self._keep_rows)

    def _round(self) -> None:
        assert self._host is not None
        for rows in self.finished.drain_rows(self._host.now_us()):
            with self._lock:
                self._learner.add(rows)
        with self._host.lock:
            eps = self._host.controller.tuner.class_losses[0]
        with self._lock:
            self._learner.pass_time(self._host.now_us())
            job = self._learner.job(eps)
        if job is None:
            return
        try:
            outcome = run_in_process(job, self._stop.wait)
        except JobError as error:
            with self._lock:
                self._learner.failed(error.cpu_s)
            if not self._stop.is_set():
                self._log(f"ramps: {error}")
            return
        self._log(f"ramps: {outcome.note}; {outcome.cpu_s:.2f} s of CPU")
        with self._serving:
            with self._lock:
                change = self._learner.finished(outcome)
            if change is not None:
                self._serve_with(change)

    def _restore_rows(self) -> None:
        assert self._host is not None
        now_us = self._host.now_us()
        try:
            rows = load_rows(self._path(ROWS_SUFFIX), self._manifest, sorted(self.ramps), now_us)
        except ConfigError as error:
            self._log(f"kept rows not restored: {error}")
            return
        if rows is not None:
            self._learner.add(rows)

    def _keep_rows(self) -> None:
        """Write the rows to disk, but only where an operator has asked for it."""
        if self._dir is None or self._host is None or not self._manifest.settings.learn_keep_rows:
            return
        with self._lock:
            rows = self._learner.rows()
        if rows is None:
            return
        try:
            save_rows(self._path(ROWS_SUFFIX), rows, self._manifest, self._host.now_us())
        except OSError as error:
            self._log(f"rows to learn from not kept: {error}")


def forget_heads(controller: Controller) -> None:
    """Ramps do not learn any more: what a tuner's state says about learnt heads is void."""
    manifest = controller.manifest
    changed = np.array([bool(manifest.ramps(number)) for number in range(len(manifest.exits))])
    nothing = Feedback.observed(np.zeros((0, len(changed))), np.zeros((0, len(changed))))
    controller.decisions.changes.set_heads(Heads(controller.tuner.heads_version + 1), changed, nothing)
