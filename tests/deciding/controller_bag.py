"""A bag in memory and a tuner with fixed thresholds, for tests of the controller."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from exeunt.deciding.admission import Admitted
from exeunt.deciding.controller import Controller
from exeunt.deciding.heads import EXPORTED, Heads
from exeunt.deciding.request import ParsedOptions, Release, Request
from exeunt.deciding.ticket import Ticket
from exeunt.manifest import Exit, Manifest, Member, Segment, Tensor
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tuning.tuner import Answered, Setup, State, Tuner, View

CLASSES, FEATURES = 4, 5


def manifest(
    depths: tuple[tuple[int, ...], ...] = ((1, 1, 1), (2, 2, 1), (2, 3, 2)),
    weights: tuple[float, ...] = (1.0, 1.0, 1.0),
    vote: str = "soft",
    **settings: Any,
) -> Manifest:
    """A bag whose exits have `depths`; the last exit gives each member's number of segments."""
    x = Tensor("x", "float32", (2,))
    members = tuple(
        Member(
            f"m{i}",
            weight,
            tuple(Segment(f"bag_m{i}_s{d}", (x,), (x,), None, {1: 10.0}) for d in range(1, n + 1)),
            None,
        )
        for i, (weight, n) in enumerate(zip(weights, depths[-1], strict=True))
    )
    exits = tuple(Exit(depth, None, {1: 100.0 * (e + 1)}, {1: 1.0}, 0.9) for e, depth in enumerate(depths))
    all_settings = {"shadow_share": 0.0, "lossless": False} | settings
    labels = tuple(f"class {k}" for k in range(CLASSES))
    return Manifest("bag", "ensemble", vote, "parallel", (x,), labels, 8, members, exits, Settings(**all_settings), "")


def learning_manifest(
    depths: tuple[tuple[int, ...], ...], features: int = FEATURES, weights: tuple[float, ...] | None = None
) -> Manifest:
    """A bag in ensemble mode whose heads the controller holds; its members' weights are equal by default."""
    bag = manifest(depths, weights or (1.0,) * len(depths[0]))
    feature_tensor = Tensor("FEATURES", "float32", (features,))
    members = tuple(
        dataclasses.replace(
            member,
            segments=(
                *(dataclasses.replace(segment, features=feature_tensor) for segment in member.segments[:-1]),
                member.segments[-1],
            ),
        )
        for member in bag.members
    )
    return dataclasses.replace(bag, members=members, controller_heads=True)


class FixedThresholds(Tuner):
    """Row leaves iff 1 - confidence < threshold; notes everything it is told."""

    name = "fixed"

    def __init__(self, bag: Manifest, thresholds: list[float], active: list[bool] | None = None) -> None:
        nothing = Feedback.observed(np.zeros((0, len(bag.exits))), np.zeros((0, len(bag.exits))))
        super().__init__(Setup(bag.costs(), bag.settings, nothing))
        self._thresholds = np.array(thresholds)
        self._active = np.array(active if active is not None else [True] * len(bag.exits))
        self.answered_batches: list[Answered] = []
        self.tossed_batches: list[Answered] = []
        self.learnt: list[Feedback] = []
        self.lost: list[Answered] = []

    def leaves(self, exit_: int, view: View) -> np.ndarray:
        return np.asarray(1.0 - view.confidence[:, exit_] < self._thresholds[exit_])

    def thresholds(self) -> np.ndarray:
        return self._thresholds

    def active(self) -> np.ndarray:
        return self._active.copy()

    def answered(self, answered: Answered) -> None:
        self.answered_batches.append(answered)

    def tossed(self, answered: Answered) -> None:
        self.tossed_batches.append(answered)

    def abandoned(self, answered: Answered) -> None:
        self.lost.append(answered)

    def learn(self, feedback: Feedback) -> None:
        self.learnt.append(feedback)

    def state(self) -> State:
        return {}

    def restore(self, state: State, clean: bool) -> None:
        pass


def controller(bag: Manifest, thresholds: list[float], active: list[bool] | None = None, seed: int = 0) -> Controller:
    return Controller(bag, FixedThresholds(bag, thresholds, active), np.random.default_rng(seed))


def thresholds_of(of: Controller) -> FixedThresholds:
    assert isinstance(of.tuner, FixedThresholds)
    return of.tuner


def admit(of: Controller, rows: int = 1, now_us: int = 0, key: object = "a", **options: Any) -> int:
    """Offer one request and admit it at once; the ticket's id."""
    of.offer(Request(key, rows, ParsedOptions(**options)), now_us)
    ticket = of.next_ticket()
    assert ticket is not None
    return ticket.id


def ticket_of(
    bag: Manifest, rows: int = 1, id_: int = 1, requested_exits: np.ndarray | None = None, heads: Heads = EXPORTED
) -> Ticket:
    """A ticket of one request; `requested_exits`: bool [exits], all by default."""
    exits = np.ones(len(bag.exits), dtype=bool) if requested_exits is None else requested_exits
    admitted = Admitted((Request(id_, rows, ParsedOptions()),), exits, None, True)
    return Ticket(id_, admitted, bag.classes, heads=heads)


def votes_of(bag: Manifest, rows: int, seed: int = 0, sharpness: float = 3.0) -> dict[tuple[int, int], np.ndarray]:
    """Random probabilities of every member at every depth, float32 [rows, CLASSES]."""
    rng = np.random.default_rng(seed)
    table = {}
    for member, item in enumerate(bag.members):
        for depth in range(1, item.depth + 1):
            scores = np.exp(sharpness * rng.standard_normal((rows, CLASSES)))
            table[member, depth] = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return table


def at_exit(bag: Manifest, exit_: int, votes: dict[tuple[int, int], np.ndarray]) -> dict[tuple[int, int], np.ndarray]:
    """What the tap of an exit brings."""
    return {(m, d): votes[m, d] for m, d in enumerate(bag.exits[exit_].depths) if d}


def run(
    of: Controller, ticket: int, votes: dict[tuple[int, int], np.ndarray], order: list[int] | None = None
) -> list[Release]:
    """All taps of a ticket, in order; the releases."""
    due: list[Release] = []
    for step, exit_ in enumerate(range(len(of.manifest.exits)) if order is None else order):
        due += of.arrived(ticket, at_exit(of.manifest, exit_, votes), now_us=1000 * (step + 1))
    return due


def with_settings(bag: Manifest, **settings: Any) -> Manifest:
    return dataclasses.replace(bag, settings=dataclasses.replace(bag.settings, **settings))
