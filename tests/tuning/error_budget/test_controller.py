"""The promise through the real controller: late, overtaken and failing taps, deadlines, options, lossless stops."""

from __future__ import annotations

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.deciding import votes
from exeunt.deciding.controller import Controller
from exeunt.deciding.request import ParsedOptions, Release, Request
from exeunt.errors import ServingError
from exeunt.manifest import Manifest
from exeunt.records.feedback import Feedback
from exeunt.tuning.error_budget.budget_tuner import BudgetTuner
from exeunt.tuning.tuner import Setup
from tests.deciding.controller_bag import CLASSES, at_exit, manifest

Votes = dict[tuple[int, int], np.ndarray]


def bag(**settings: object) -> Manifest:
    options = {"g": 0.5, "window_rows": 256, "retune_rows": 64, "period_rows": 128}
    table = {"tuner": "budget", "tuner_options": options, "max_loss": 0.05, "max_unconfirmed_rows": 12} | settings
    return manifest(**table)


def like_a_bag(of: Manifest, rows: int, rng: np.random.Generator) -> Votes:
    """Probabilities that sharpen with depth around what the members finally say."""
    final = 2.5 * rng.standard_normal((rows, CLASSES))
    table = {}
    for member, votes_ in enumerate(of.members):
        for depth in range(1, votes_.depth + 1):
            noise = 1.2 * (votes_.depth + 0.3 - depth) * rng.standard_normal((rows, CLASSES))
            scores = np.exp(final + noise)
            table[member, depth] = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return table


class Life:
    """A controller under load, and what clients got beside what the full ensemble said."""

    def __init__(self, of: Manifest, seed: int, q: float = 1.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.bag = of
        bag_votes = like_a_bag(of, 100, self.rng)
        both = [
            votes.vote(list(at_exit(of, e, bag_votes).values()), of.weights[: len(at_exit(of, e, bag_votes))].tolist())
            for e in range(len(of.exits))
        ]
        labels = np.stack([votes.labels(one) for one in both], axis=1)
        calibration = Feedback.observed(labels, np.stack([one.max(axis=1) for one in both], axis=1))
        self.tuner = BudgetTuner(Setup(of.costs(), of.settings, calibration))
        self.controller = Controller(of, self.tuner, np.random.default_rng(seed))
        self.controller.decisions.changes.set_finish_probability(q)
        self.truth: dict[object, np.ndarray] = {}
        self.answers = self.losses = 0
        self.reasons: set[int] = set()
        self.now_us = 0

    def book(self, releases: list[Release]) -> None:
        for release in releases:
            if release.answer is None:
                continue
            reason = np.asarray(release.answer.reason).ravel()
            self.reasons |= set(reason.tolist())
            promised = reason <= Reason.LOSSLESS
            self.answers += int(promised.sum())
            self.losses += int((np.asarray(release.answer.label).ravel() != self.truth[release.key])[promised].sum())

    def ticket(self, number: int) -> None:
        """One ticket from start to end, its taps in any order, or failing half way."""
        rows = int(self.rng.integers(1, 9))
        bag_votes = like_a_bag(self.bag, rows, self.rng)
        last = at_exit(self.bag, len(self.bag.exits) - 1, bag_votes)
        self.truth[number] = votes.labels(votes.vote(list(last.values()), self.bag.weights.tolist()))
        options = ParsedOptions(max_risk=0.02) if self.rng.random() < 0.1 else ParsedOptions()
        self.controller.offer(Request(number, rows, options), self.now_us)
        ticket = self.controller.next_ticket()
        assert ticket is not None
        taps = self.rng.permutation(len(self.bag.exits)) if self.rng.random() < 0.2 else range(len(self.bag.exits))
        for exit_ in taps:
            self.now_us += 100
            if self.rng.random() < 0.03:
                self.book(self.controller.failed(ticket.id, ServingError("broken"), self.now_us))
                return
            self.book(self.controller.arrived(ticket.id, at_exit(self.bag, int(exit_), bag_votes), self.now_us))
        job = self.tuner.retune()
        if job is not None:
            self.tuner.adopt(job())


@pytest.mark.parametrize("lossless", [True, False])
def test_what_clients_get_keeps_the_promise(lossless: bool) -> None:
    early = 0
    for seed in range(8):
        life = Life(bag(lossless=lossless), seed)
        account = life.tuner.budget.classes[0]
        for number in range(150):
            life.ticket(number)
            assert life.losses <= account.allowed + account.most_unconfirmed
        assert not account.broken
        assert account.unconfirmed_rows == 0
        early += Reason.EARLY in life.reasons
    assert early == 8


def test_every_early_answer_that_was_not_drawn_leaves_no_trace_in_what_is_awaited() -> None:
    life = Life(bag(), 1, q=0.5)
    for number in range(150):
        life.ticket(number)
    account = life.tuner.budget.classes[0]
    assert account.unconfirmed == 0.0
    assert account.most_unconfirmed <= 12.0 + 1e-6
    assert not account.broken
