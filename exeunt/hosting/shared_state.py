"""What this server shares with the other replicas of its bag, beside serving: accounts change hands, lessons go round.

Called by the housekeeping thread alone. The store may be slow, down, wiped or full of garbage: then this server lives
on its own account, says so, and asks again later.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from exeunt.errors import ConfigError
from exeunt.hosting.host import ControllerHost
from exeunt.records.feedback import Feedback
from exeunt.sharing.lesson import Lessons, from_bytes, to_bytes
from exeunt.sharing.life import Life
from exeunt.sharing.store import Store, StoreError
from exeunt.tuning.error_budget.class_budget import ClassBudget
from exeunt.whole_files import replacing

BEAT_S = 5.0
LEARN_S = 15.0
LONGEST_WAIT_S = 15.0  # for a store that does not answer; well below ledger.DEAD_AFTER_S
LIFE_SUFFIX = ".life"
_MOST_ID = 64  # characters


class SharedState:
    """A host's dealings with the store.

    Args:
        store: one bag's part of it.
        host: whose accounts and tuner they are.
        folder: where the id of this life is kept, so that a restart on the same files goes on with its account; None
            keeps none.
        log: takes one line of text.
        now_s: a clock.
    """

    def __init__(
        self,
        store: Store,
        host: ControllerHost,
        folder: Path | None,
        log: Callable[[str], None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._host = host
        self._log = log
        self._now_s = now_s
        manifest = host.controller.manifest
        self._file = None if folder is None else folder / f"{manifest.content_hash}{LIFE_SUFFIX}"
        self._exits, self._classes = len(manifest.exits), manifest.classes
        self._id = secrets.token_hex(8)
        self._lives: dict[str, Life] = {}
        self._lessons = Lessons()
        self._place = ""  # of the last lesson that was read
        self._beat_due_s = self._learn_due_s = 0.0
        self._failures = 0  # in a row
        self._answered_s = now_s()
        self._numbers = dict.fromkeys(("failed_calls", "losses_received", "losses_handed_over"), 0.0)
        self._numbers |= dict.fromkeys(("rows_learnt", "rows_taught", "bad_lessons", "savings_at_rest"), 0.0)
        self._handing_over = False
        self.settled = True  # False while an account may be here and in the store: then files keep no savings

    def start(self, restored: bool) -> None:
        """Join: take debt and a share of the savings, and learn what the others know; before the first request.

        Args:
            restored: this server has learnt something itself.
        """
        was = self._read_life()
        for name, account in self._accounts().items():
            self._lives[name] = Life(self._id, was, max(0.0, -account.reserve))
        self._write_life()
        self._host.controller.decisions.on_feedback.append(self._lessons.add)
        if self._beat():
            self._learn(newcomer=not restored)

    def round(self, save: Callable[[bool], None]) -> None:
        """Do what is due; returns at once if nothing is.

        Args:
            save: saves the learnt state, as that of an orderly stop if True.
        """
        now_s = self._now_s()
        if now_s < self._beat_due_s:
            return
        if self._handing_over:
            self.hand_over(save)
        elif self._beat() and now_s >= self._learn_due_s:
            self._learn(newcomer=False)

    def hand_over(self, save: Callable[[bool], None]) -> None:
        """An orderly stop, when nothing may leave early any more: hand over all accounts.

        The files hold each account until the store has it. In between they keep its debt and not its savings.
        """
        self._handing_over = True
        if self.settled and not (self._lives and self._beat()):  # nothing is left to do, or the store is away
            return
        self.settled = False
        save(False)
        if self._exchange(Life.end):
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.unlink(missing_ok=True)
            self.settled = True
            save(True)

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def metrics(self) -> dict[str, float]:
        """Numbers for operators by name."""
        since_s = self._now_s() - self._answered_s
        return {"reachable": float(not self._failures), "seconds_since_answer": since_s, **self._numbers}

    def _accounts(self) -> dict[str, ClassBudget]:
        return self._host.controller.tuner.shareable_budgets()

    def _beat(self) -> bool:
        """One message of every life; False if the store did not take all of them."""
        return self._exchange(Life.beat)

    def _exchange(self, say: Callable[[Life, ClassBudget], object]) -> bool:
        names = self._host.controller.settings.classes_of_service
        for name, life in list(self._lives.items()):
            number = names.index(name)
            with self._host.lock:
                account = self._accounts()[name]
                before = account.reserve
                say(life, account)
                self._note(number, account.reserve - before)
                message = life.pending
            if message is None:
                continue
            try:
                reply = self._store.exchange(name, message)
            except (StoreError, ConfigError) as error:
                self._failed(error)
                return False
            with self._host.lock:
                before = account.reserve
                life.answered(reply, account)
                self._note(number, account.reserve - before)
            self._numbers["savings_at_rest"] = reply.at_rest
            if life.over:
                del self._lives[name]
        self._succeeded()
        return True

    def _note(self, number: int, losses: float) -> None:
        """Losses came to the account of a class of service, or went."""
        self._numbers["losses_received" if losses > 0 else "losses_handed_over"] += abs(losses)
        self._host.controller.counters.by_class[number].received += max(0.0, losses)

    def _learn(self, newcomer: bool) -> None:
        """Publish the rows that this replica learnt from, and learn from those of the other replicas."""
        self._learn_due_s = self._now_s() + LEARN_S
        rows = self._lessons.take()
        with self._host.lock:
            offered = self._host.controller.tuner.active()
        try:
            if rows is not None:
                self._store.publish(self._id, to_bytes(rows, offered))
                self._numbers["rows_taught"] += len(rows)
            entries = self._store.lessons(self._place)
        except StoreError as error:
            self._failed(error)
            return
        self._place = entries[-1][0] if entries else self._place
        lessons = [lesson for place, by, lesson in entries if by != self._id]
        read = [content for lesson in lessons if (content := self._read(lesson)) is not None]
        if read:
            feedback = Feedback.joined([part for part, _ in read])
            with self._host.lock:
                self._host.controller.tuner.learn_unbooked(feedback, read[-1][1] if newcomer else None)
            self._numbers["rows_learnt"] += len(feedback)

    def _read(self, lesson: bytes) -> tuple[Feedback, np.ndarray] | None:
        try:
            return from_bytes(lesson, self._exits, self._classes)
        except ConfigError as error:
            self._numbers["bad_lessons"] += 1
            if self._numbers["bad_lessons"] == 1:
                self._log(f"a lesson of another replica is left out: {error}")
            return None

    def _succeeded(self) -> None:
        if self._failures:
            self._log("state_url: the store answers again")
        self._failures = 0
        self._answered_s = self._now_s()
        self._beat_due_s = self._answered_s + BEAT_S

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._numbers["failed_calls"] += 1
        self._beat_due_s = self._now_s() + min(LONGEST_WAIT_S, BEAT_S * self._failures)
        if self._failures == 1:
            self._log(f"state_url: {error}; this server goes on with its own account and what it knows")

    def _read_life(self) -> str:
        """Id of the life whose account the files hold, or ""; what is no id is none."""
        if self._file is None:
            return ""
        try:
            was = self._file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return was if was.isalnum() and len(was) <= _MOST_ID else ""

    def _write_life(self) -> None:
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._file, durably=True) as file:
                file.write(self._id.encode("ascii"))
        except OSError as error:
            self._log(f"this life's id cannot be written, after a crash its debt may be counted twice: {error}")
