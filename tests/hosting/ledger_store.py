"""A store in memory, and replicas of a bag that share it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from exeunt.deciding.controller import Controller
from exeunt.hosting.guard import Guard
from exeunt.hosting.host import ControllerHost
from exeunt.hosting.housekeeping import Housekeeping
from exeunt.hosting.shared_state import BEAT_S, SharedState
from exeunt.records.feedback import Feedback
from exeunt.sharing.ledger import Ledger, Message, Reply, exchange
from exeunt.sharing.store import StoreError
from exeunt.tuning.registry import make_tuner
from exeunt.tuning.tuner import Setup
from tests.deciding.controller_bag import manifest
from tests.hosting.test_host import PoolRunner


class LedgerStore:
    """A store in memory: the real rule, with a clock and faults that a test chooses."""

    def __init__(self) -> None:
        self.ledgers: dict[str, Ledger] = {}
        self.taught: list[tuple[str, str, bytes]] = []
        self.now_s = 1000.0
        self.down = False
        self.loses_replies_to_ends = False

    def ledger(self, name: str = "") -> Ledger:
        return self.ledgers.get(name, Ledger.empty())

    def exchange(self, service_class: str, message: Message) -> Reply:
        self._answer()
        changed, reply = exchange(self.ledger(service_class), message, self.now_s, "run")
        self.ledgers[service_class] = changed
        if message.final and self.loses_replies_to_ends:
            raise StoreError("the reply is lost")
        return reply

    def wait(self, seconds: float) -> None:
        """Time passes in which others speak."""
        for name, ledger in self.ledgers.items():
            self.ledgers[name] = replace(ledger, clock_s=ledger.clock_s + seconds)

    def publish(self, by: str, lesson: bytes) -> None:
        self._answer()
        self.taught.append((str(len(self.taught) + 1).zfill(9), by, lesson))

    def lessons(self, after: str) -> list[tuple[str, str, bytes]]:
        self._answer()
        return [entry for entry in self.taught if entry[0] > after]

    def close(self) -> None:
        pass

    def _answer(self) -> None:
        if self.down:
            raise StoreError("down")


class Replica:
    """A server's controller, host, housekeeping and dealings with the store; time is the store's."""

    def __init__(self, store, folder, **settings):
        self.bag = manifest(tuner="budget", **settings)
        nothing = Feedback.observed(np.zeros((0, 3)), np.zeros((0, 3)))
        tuner = make_tuner(Setup(self.bag.costs(), self.bag.settings, nothing, 0))
        self.controller = Controller(self.bag, tuner, np.random.default_rng(0))
        self.lines = []
        self.host = ControllerHost(
            self.controller, PoolRunner(self.bag), lambda release: None, Guard(self.lines.append)
        )
        self.store = store
        self.shared = SharedState(store, self.host, folder, self.lines.append, lambda: store.now_s)
        self.housekeeping = Housekeeping(
            self.host, folder, {}, lambda samples: None, self.lines.append, shared=self.shared
        )
        # what start() does, without its thread: the test says when a round is due
        self.shared.start(self.housekeeping._restore())

    @property
    def account(self):
        return self.controller.tuner.budget.classes[0]

    def earn(self, losses):
        self.account.reserve = losses

    def round(self):
        self.store.now_s += BEAT_S
        self.shared.round(self.housekeeping._save)

    def save(self):
        self.housekeeping._save(clean=False)

    def kill(self):
        if self.housekeeping._state is not None:
            self.housekeeping._state.release()

    def stop(self):
        self.host.drain(0.0)
        self.housekeeping.close()
