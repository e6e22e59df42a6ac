"""A simulated fleet: replicas with accounts of their own, a store that may fail in every way, a clock, an adversary.

What is true (which early answers are losses) is counted apart from the accounts. Replicas are killed, drained, started
anew with and without their files, cut off from the store; messages and replies get lost; the store is down, wiped,
restarted from an old copy. The adversary sees everything and decides which early answers are losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from exeunt.sharing.ledger import Ledger, Message, Reply, exchange
from exeunt.sharing.life import Life
from exeunt.tuning.error_budget.class_budget import ClassBudget

Cunning = Callable[["Fleet", "Replica"], bool]  # whether an early answer is a loss


def living(ledger: Ledger) -> int:
    """Lives that are not over."""
    return sum(not record.over for record in ledger.lives.values())


@dataclass
class Files:
    """What a replica's state folder holds: its account as saved last, and the life that it had."""

    account: dict[str, float]
    clean: bool
    life: str


@dataclass
class Replica:
    """A running server with one class of service."""

    account: ClassBudget
    life: Life
    files: Files | None
    waiting: list[bool] = field(default_factory=list)  # early answers that await their full vote: lost or not
    most_waiting: float = 0.0  # P of this life
    cut_off: bool = False

    def save(self, clean: bool, life: str) -> None:
        if self.files is not None:
            self.files = Files(self.account.state(), clean, life)


class Fleet:
    """Replicas and their store.

    Args:
        rng: of everything.
        cunning: which early answers are losses.
        eps: promised share.
        g: 1 / g losses can be saved up.
        cap: most early answers that may wait, in each replica.
        shared: False: nobody uses the store.

    Attributes:
        allowed: eps T over all lives.
        losses: true losses of all lives.
        worst_excess: losses less eps x answers, in the window that has the most.
        ended: P of every life that drained, `killed` of every one that did not.
    """

    def __init__(
        self, rng: np.random.Generator, cunning: Cunning, eps: float, g: float, cap: int, shared: bool = True
    ) -> None:
        self.rng, self.cunning, self.eps, self.g, self.cap, self.shared = rng, cunning, eps, g, cap, shared
        self.replicas: list[Replica] = []
        self.folders: list[Files] = []  # of servers that are gone
        self.ledger = Ledger.empty()
        self.copies: list[Ledger] = []
        self.run_id, self.runs, self.lives = "run0", 0, 0
        self.up = True
        self.now_s = 1000.0
        self.losing_share = 0.0  # of messages, and of replies
        self.allowed = self.losses = self.early = 0.0
        self.worst_excess = self._excess = (
            0.0  # losses less eps x answers in the worst window, and in the one that ends now
        )
        self.ended: list[float] = []
        self.killed: list[float] = []
        self.deposited: dict[
            tuple[str, int], tuple[str, float]
        ] = {}  # savings: (life, number) -> (run of store, losses)
        self.paid: dict[tuple[str, int], tuple[str, float]] = {}

    # --- serving

    def serve(self, replica: Replica, rows: int) -> None:
        """Answer rows, as early as the account lets."""
        account = replica.account
        for _ in range(rows):
            leaves = account.may_leave and account.unconfirmed + 1.0 <= self.cap
            account.answered(1)
            self.allowed += self.eps
            self._excess = max(0.0, self._excess - self.eps)
            if leaves:
                account.left_early(1, 1.0, 1.0)
                lost = self.cunning(self, replica)
                replica.waiting.append(lost)
                replica.most_waiting = max(replica.most_waiting, account.unconfirmed)
                self.losses += lost
                self._excess += lost
                self.worst_excess = max(self.worst_excess, self._excess)
                self.early += 1

    def confirm(self, replica: Replica, rows: int) -> None:
        """Full votes arrive, in any order."""
        for _ in range(min(rows, len(replica.waiting))):
            lost = replica.waiting.pop(int(self.rng.integers(len(replica.waiting))))
            replica.account.confirmed(1, 1.0)
            if lost:
                replica.account.lost(1.0)

    # --- the store

    def beat(self, replica: Replica) -> None:
        """One message of a replica, if it gets through."""
        if self.shared:
            self._send(replica, replica.life.beat(replica.account))

    def _send(self, replica: Replica, message: Message) -> bool:
        """Whether the reply came."""
        if not self.up or replica.cut_off or self.rng.random() < self.losing_share:
            return False
        reply = self._take(message)
        if self.rng.random() < self.losing_share:
            return False
        replica.life.answered(reply, replica.account)
        return True

    def _take(self, message: Message) -> Reply:
        self.ledger, reply = exchange(self.ledger, message, self.now_s, self.run_id)
        name = (message.life, message.number)
        if message.deposit > 0.0:
            self.deposited[name] = (message.run_id, message.deposit)
        if reply.savings > 0.0:
            self.paid[name] = (reply.run_id, reply.savings)
        return reply

    def paid_twice(self) -> bool:
        """True if more savings were paid out by some process of the store than were handed over to it."""
        runs: dict[str, float] = {}
        for run, losses in self.paid.values():
            runs[run] = runs.get(run, 0.0) + losses
        for run, losses in self.deposited.values():
            runs[run] = runs.get(run, 0.0) - losses
        return any(losses > 1e-9 for losses in runs.values())

    def copy_store(self) -> None:
        self.copies.append(self.ledger)

    def restart_store(self, ledger: Ledger) -> None:
        """Another process takes over with this ledger."""
        self.runs += 1
        self.run_id, self.ledger = f"run{self.runs}", ledger

    def wipe_store(self) -> None:
        """The key is deleted while the process lives on."""
        self.ledger = Ledger.empty()

    # --- lives

    def start(self, files: Files | None = None, keeps_files: bool = False) -> Replica:
        """A server starts, on the folder of one that is gone where `files` are given."""
        account = ClassBudget(self.eps, self.g)
        covered, was = 0.0, ""
        if files is not None:
            account.restore(files.account, files.clean)
            covered, was = max(0.0, -account.reserve), files.life
        self.lives += 1
        name = f"life{self.lives}"
        replica = Replica(account, Life(name, was, covered), Files({}, False, name) if keeps_files else None)
        replica.save(False, name)
        self.replicas.append(replica)
        self.beat(replica)
        return replica

    def kill(self, replica: Replica) -> None:
        """It is gone, whatever it was doing."""
        self._gone(replica)
        self.killed.append(replica.most_waiting)

    def drain(self, replica: Replica, tries: int = 3) -> None:
        """An orderly stop: full votes are awaited as far as they come, then the account is handed over."""
        self.confirm(replica, int(self.rng.integers(len(replica.waiting) + 1)) if self.rng.random() < 0.3 else 10**6)
        account, life = replica.account, replica.life
        for _ in range(tries):
            if life.pending is not None:
                self._send(replica, life.pending)
        handed = False
        final = life.end(account) if self.shared else None
        if final is not None:
            replica.save(False, life.id)
            for _ in range(tries):
                handed = handed or self._send(replica, final)
        if handed:
            account.confirmed(len(replica.waiting), float(len(replica.waiting)))  # handed over as lost
        if handed or final is None:
            replica.save(True, "" if handed else life.id)
        (self.ended if handed or replica.files is not None else self.killed).append(replica.most_waiting)
        self._gone(replica)

    def _gone(self, replica: Replica) -> None:
        self.replicas.remove(replica)
        if replica.files is not None:
            self.folders.append(replica.files)

    # --- what is promised

    def constant(self, kinds: list[list[float]]) -> float:
        """The sum of P over lives that run and those of some kinds that ended."""
        return sum(replica.most_waiting for replica in self.replicas) + sum(map(sum, kinds))

    def broken(self) -> bool:
        """True if some replica's own watch says that its promise is broken."""
        return any(replica.account.broken for replica in self.replicas)


def settings(rng: np.random.Generator) -> dict[str, Any]:
    """Random promises."""
    return {
        "eps": float(rng.choice([0.01, 0.05, 0.3])),
        "g": float(rng.choice([0.2, 0.5, 1.0])),
        "cap": int(rng.choice([1, 4, 16])),
    }
