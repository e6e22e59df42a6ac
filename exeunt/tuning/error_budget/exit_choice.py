"""Which exits to offer: chosen by replaying the window, with trials and hysteresis.

An exit costs its head in every answer behind it and earns what leaves there earlier than elsewhere. Both are known from
the window: for every set of exits the best latency at the going price of a loss follows from optimal stopping
(exit_path.py), on rows that saw all of the set (rows of shadow tickets saw every exit). A set is compared with the one
in force on the same rows. An exit is dropped when twice in a row the bag would have been faster without it; one that
looks useful is tried for a period, then kept only if it has paid, else left alone for a time that doubles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from exeunt.manifest import Costs
from exeunt.tuning.error_budget.exit_path import best_cost

DROP_GAIN = 0.001  # share of the latency that must be saved by dropping an exit
ADD_GAIN = 0.005  # share that an exit must promise before it is tried; above DROP_GAIN: hysteresis
LEAST_ROWS = 64  # rows that saw a whole set, to judge it
MOST_ROWS = 1024  # the latest of them are enough
DOUBTS = 2  # times in a row that dropping must look better
LONGEST_REST = 64  # periods


@dataclass(frozen=True, slots=True)
class ExitChoice:
    """The exits offered, and what is known about the others.

    Attributes:
        active: bool [exits].
        trial: exit on trial, -1 = none.
        doubts: int64 [exits], times in a row that dropping it looked better.
        rest: int64 [exits], periods until it may be tried again.
        failures: int64 [exits], trials in a row that it failed.
    """

    active: np.ndarray
    trial: int
    doubts: np.ndarray
    rest: np.ndarray
    failures: np.ndarray

    @classmethod
    def all(cls, exits: int) -> ExitChoice:
        """Every exit is offered."""
        nothing = np.zeros(exits, dtype=np.int64)
        return cls(np.ones(exits, dtype=bool), -1, nothing, nothing, nothing)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What sets of exits are judged by.

    Attributes:
        risk: float64 [rows, exits - 1], NaN where not seen.
        weights: float64 [rows].
        costs: latency of the exits.
        price: latency that one loss is worth, in latencies of the full ensemble.
    """

    risk: np.ndarray
    weights: np.ndarray
    costs: Costs
    price: float

    def gain(self, without: np.ndarray, with_: np.ndarray) -> float:
        """Share of the cost that the exits `with_` save against `without` (both bool [exits]); NaN if unknown.

        Judged in the first gear that has the exit in which they differ.
        """
        masks = self.costs.masks
        gear = masks[int(masks[:, without ^ with_].any(axis=1).argmax())]
        without, with_ = without & gear, with_ & gear
        rows = np.flatnonzero(np.isfinite(self.risk[:, (without | with_)[:-1]]).all(axis=1))[-MOST_ROWS:]
        if len(rows) < LEAST_ROWS:
            return float("nan")
        before = self._cost(rows, without)
        return (before - self._cost(rows, with_)) / before

    def _cost(self, rows: np.ndarray, active: np.ndarray) -> float:
        spent = self.costs.latency_us(active) / self.costs.elapsed_us[-1]
        return best_cost(self.risk[rows], self.weights[rows], spent, active, self.price)


def reconsider(choice: ExitChoice, replayed: Replayed) -> ExitChoice:
    """The exits to offer from now on; called once per period."""
    choice = replace(choice, rest=np.maximum(choice.rest - 1, 0))
    if choice.trial >= 0:
        return _end_trial(choice, replayed)
    choice, worst = _doubt(choice, replayed)
    if worst >= 0:
        return replace(choice, active=_flipped(choice.active, worst), doubts=np.zeros_like(choice.doubts))
    return _start_trial(choice, replayed)


def pruned(choice: ExitChoice, replayed: Replayed) -> ExitChoice:
    """Drop, one after the other, what is not worth its cost: the start, on calibration data."""
    while True:
        gains = {exit_: replayed.gain(choice.active, _flipped(choice.active, exit_)) for exit_ in _early(choice.active)}
        worst = max(gains, key=lambda exit_: gains[exit_], default=-1)
        if worst < 0 or not gains[worst] > DROP_GAIN:
            return choice
        choice = replace(choice, active=_flipped(choice.active, worst))


def _end_trial(choice: ExitChoice, replayed: Replayed) -> ExitChoice:
    """Keep the exit on trial if it has paid."""
    exit_ = choice.trial
    paid = replayed.gain(_flipped(choice.active, exit_), choice.active)
    if paid > DROP_GAIN:
        return replace(choice, trial=-1, failures=_with(choice.failures, exit_, 0))
    failures = int(choice.failures[exit_]) + 1
    return replace(
        choice,
        active=_flipped(choice.active, exit_),
        trial=-1,
        failures=_with(choice.failures, exit_, failures),
        rest=_with(choice.rest, exit_, min(2**failures, LONGEST_REST)),
    )


def _doubt(choice: ExitChoice, replayed: Replayed) -> tuple[ExitChoice, int]:
    """Count who looks useless; the exit to drop now, -1 = none."""
    doubts, worst, most = np.zeros_like(choice.doubts), -1, 0.0
    for exit_ in _early(choice.active):
        gain = replayed.gain(choice.active, _flipped(choice.active, exit_))
        if gain > DROP_GAIN:
            doubts[exit_] = choice.doubts[exit_] + 1
            if doubts[exit_] >= DOUBTS and gain > most:
                worst, most = exit_, gain
    return replace(choice, doubts=doubts), worst


def _start_trial(choice: ExitChoice, replayed: Replayed) -> ExitChoice:
    """Offer the inactive exit that promises most, if it promises enough."""
    best, most = -1, ADD_GAIN
    for exit_ in _early(~choice.active):
        if choice.rest[exit_] == 0:
            gain = replayed.gain(choice.active, _flipped(choice.active, exit_))
            if gain > most:
                best, most = exit_, gain
    return choice if best < 0 else replace(choice, active=_flipped(choice.active, best), trial=best)


def _early(exits: np.ndarray) -> list[int]:
    return [int(exit_) for exit_ in np.flatnonzero(exits[:-1])]


def _flipped(active: np.ndarray, exit_: int) -> np.ndarray:
    return _with(active, exit_, not active[exit_])


def _with(values: np.ndarray, place: int, value: int | bool) -> np.ndarray:
    changed = values.copy()
    changed[place] = value
    return changed
