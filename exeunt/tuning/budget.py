"""`budget`: a promise on the loss, kept whatever the data do, and as little latency as it allows.

After any number T of answers at most eps T + P of them differ from the full vote (P = max_unconfirmed_rows); proof and
fine print in docs/promise.md. Four parts: an account per class of service keeps the promise (account.py); a calibrator
estimates the risk of leaving (calibrator.py); a path orders the possible decisions by what a loss is worth
(exit_path.py); a plan says how far along the path to be with what is left of the budget (spending.py). Only the account
matters to the promise, the other three decide how much latency is saved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from exeunt.contract import Reason
from exeunt.records.feedback import Feedback
from exeunt.records.window import FeedbackWindow
from exeunt.tuning.account import Account
from exeunt.tuning.calibrator import Calibration, calibrate, prior
from exeunt.tuning.exit_path import ExitPath, find_path
from exeunt.tuning.spending import plan
from exeunt.tuning.tuner import Answered, Setup, State, Tuner, View, options


@dataclass(frozen=True, slots=True)
class Thought:
    """What a retuning comes to."""

    calibration: Calibration
    path: ExitPath
    plans: tuple[np.ndarray, ...]  # by class of service: position on the path by reserve


class BudgetTuner(Tuner):
    """Error-budget tuning."""

    name = "budget"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        told = options(setup, g=0.25, window_rows=4096, retune_rows=128, half_life_rows=2000.0)
        self._told = told
        self._accounts = [Account(eps, told["g"]) for eps in setup.settings.class_losses]
        self._window = FeedbackWindow(told["window_rows"], setup.exits)
        self._window.add(setup.calibration)
        self._active = np.ones(setup.exits, dtype=bool)
        self._since_retune = 0
        self._thought = self._think(self._window.view(), prior(setup.exits))

    def leaves(self, exit_: int, view: View) -> np.ndarray:
        leaves = np.zeros(len(view.confidence), dtype=bool)
        if not any(account.may_leave for account in self._accounts):
            return leaves
        confidence = view.confidence[:, exit_]
        risk = self._thought.calibration.risk(exit_, confidence, view.labels[:, exit_])
        cuts = self._cuts()[view.service_class, exit_]
        leaves = (risk < cuts) & np.isfinite(confidence)
        room = self.setup.settings.max_unconfirmed_rows - sum(account.unconfirmed for account in self._accounts)
        if leaves.sum() > room:
            keen = np.flatnonzero(leaves)
            leaves[:] = False
            leaves[keen[np.argsort(risk[keen])[: max(0, int(room))]]] = True
        return leaves

    def _cuts(self) -> np.ndarray:
        return np.array([self._cut(account, plan_) for account, plan_ in zip(self._accounts, self._thought.plans)])

    def _cut(self, account: Account, plan_: np.ndarray) -> np.ndarray:
        if not account.may_leave:
            return np.zeros(self.setup.exits - 1)
        place = account.saved_losses / account.most_saved_losses * (len(plan_) - 1)
        return self._thought.path.at(float(np.interp(place, np.arange(len(plan_)), plan_)))

    def thresholds(self) -> np.ndarray:
        return np.zeros(self.setup.exits)

    def answered(self, answered: Answered) -> None:
        for number, account in enumerate(self._accounts):
            mine = answered.counted & (answered.service_class == number)
            account.answered(int(mine.sum()))
            mine &= (answered.reason == Reason.EARLY) & answered.finishes
            if mine.any():
                q = answered.q[mine].astype(float)
                account.left_early(len(q), float((1 / q).sum()), float(q.min()))

    def learn(self, feedback: Feedback) -> None:
        for number, account in enumerate(self._accounts):
            mine = feedback.promised & (feedback.service_class == number)
            early = mine & (feedback.reason == Reason.EARLY)
            if early.any():
                account.confirmed(int(early.sum()), float((1 / feedback.q[early].astype(float)).sum()))
            lost = mine & feedback.loss
            if lost.any():
                account.lost(float((1 / feedback.q[lost].astype(float)).sum()))
        self._window.add(feedback)
        self._since_retune += len(feedback)

    def retune(self) -> Callable[[], Any] | None:
        if self._since_retune < self._told["retune_rows"]:
            return None
        self._since_retune = 0
        window, before = self._window.view(), self._thought.calibration
        return lambda: self._think(window, before)

    def _think(self, window: Feedback, before: Calibration) -> Thought:
        weights = 0.5 ** (np.arange(len(window))[::-1] / self._told["half_life_rows"]) / window.q
        calibration = calibrate(window.labels, window.confidence, weights, before)
        risk = np.stack([calibration.risk(e, window.confidence[:, e], window.labels[:, e]) for e in range(self.setup.exits - 1)], axis=1)
        path = find_path(risk, weights, self.setup.costs.latency_us(self._active), self._active)
        plans = tuple(plan(path, account.eps, account.most_saved_losses) for account in self._accounts)
        return Thought(calibration, path, plans)

    def adopt(self, outcome: Any) -> None:
        self._thought = outcome
        self.version += 1

    def state(self) -> State:
        return {}

    def restore(self, state: State, clean: bool) -> None:
        pass
