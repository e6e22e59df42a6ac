"""References that see the whole stream before they answer: the best fixed thresholds, and the oracle.

Best fixed thresholds: of all vectors of one threshold per exit, kept for the whole stream, the one with the least mean
latency among those whose losses over the whole stream are at most max_loss * rows. It is found exactly for up to three
exits before the last, by the argument below, and by a beam over the same tree beyond.

Raising a threshold up to the next row that is wrong at that exit only lets right rows leave earlier, which costs no
loss and saves latency. So at each exit only the scores of wrong rows can be thresholds of an optimum: the j-th
candidate lets every row leave that is surer than the j-th wrong row among those still there, and costs j losses. Going
through the exits in order, a search node is (exit, rows still there, losses spent), and the last exit before the full
one may as well spend all that is left.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exeunt.contract import Reason
from exeunt.manifest import Costs
from exeunt.replay.run import ReplayRun
from exeunt.replay.stream import VoteStream

EXACT_NODES = 60_000  # widest layer that is searched exhaustively
MOST_SUBSETS_EXITS = 4  # up to so many exits before the last every subset is tried
BEAM_NODES = 200  # beyond that, per number of losses spent the most promising ones


@dataclass(frozen=True, slots=True)
class Fixed:
    """Thresholds that do not move.

    Attributes:
        thresholds: float64 [exits], on 1 - confidence; 0 at the last exit and at exits that are off.
        active: bool [exits], exits that are offered; an exit that is off costs no heads.
        exact: True if no better vector exists.
    """

    thresholds: np.ndarray
    active: np.ndarray
    exact: bool


def answer_fixed(stream: VoteStream, fixed: Fixed, costs: Costs, lossless: bool, policy: str = "fixed") -> ReplayRun:
    """The run of fixed thresholds, all rows at once; every active exit is offered to every row."""
    scores = _scores(stream, lossless)
    last = stream.exits - 1
    leaves = (scores < fixed.thresholds[None, :last]) | (scores < 0)
    leaves &= fixed.active[None, :last] & ~stream.rows.never[:, None]
    exit_ = np.where(leaves.any(axis=1), leaves.argmax(axis=1), last).astype(np.int32)
    early = np.where(scores[np.arange(len(stream)), np.minimum(exit_, last - 1)] < 0, Reason.LOSSLESS, Reason.EARLY)
    reason = np.where(exit_ == last, Reason.FULL, early)
    return _hindsight_run(stream, policy, exit_, reason, costs.latency_us(fixed.active))


def answer_oracle(stream: VoteStream, costs: Costs, policy: str = "oracle") -> ReplayRun:
    """Every row leaves at the first exit that has the full vote's label, all exits offered."""
    exit_ = (~stream.wrong).argmax(axis=1).astype(np.int32)
    reason = np.where(exit_ == stream.exits - 1, Reason.FULL, Reason.EARLY)
    return _hindsight_run(stream, policy, exit_, reason, costs.latency_us(np.ones(stream.exits, dtype=bool)))


def best_fixed(stream: VoteStream, costs: Costs, max_loss: float, lossless: bool) -> Fixed:
    """The best fixed thresholds in hindsight.

    Args:
        stream: the whole stream; every exit must be known on every row.
        costs: latency of the exits; which exits to offer at all is part of the choice.
        max_loss: share of rows that may be lost.
        lossless: True if lossless stops answer, too, as they do for the tuners.
    """
    last = stream.exits - 1
    scores, wrong = _scores(stream, lossless), stream.wrong[:, :last]
    budget = int(np.floor(max_loss * len(stream) + 1e-9))
    exact = last <= MOST_SUBSETS_EXITS

    def solved(offered: tuple[int, ...]) -> tuple[float, Fixed]:
        nonlocal exact
        active = np.isin(np.arange(last + 1), [*offered, last])
        search = _Search(scores[:, offered], wrong[:, offered], costs.latency_us(active)[[*offered, last]], budget)
        summed_us, thresholds = search.solve()
        exact &= search.exact
        whole = np.zeros(last + 1)
        whole[list(offered)] = thresholds
        return summed_us, Fixed(whole, active, exact)

    early = tuple(range(last))
    if last <= MOST_SUBSETS_EXITS:
        subsets = itertools.chain.from_iterable(itertools.combinations(early, count) for count in range(last + 1))
        best = min((solved(offered) for offered in subsets), key=operator.itemgetter(0))[1]
    else:
        best = _dropping_exits(early, solved)
    return Fixed(best.thresholds, best.active, exact)


def _dropping_exits(offered: tuple[int, ...], solved: Callable[[tuple[int, ...]], tuple[float, Fixed]]) -> Fixed:
    """Begin with all exits; drop one at a time, always the one whose absence helps most, as long as that helps."""
    best_us, best = solved(offered)
    while offered:
        fewer = [tuple(option for option in offered if option != dropped) for dropped in offered]
        trials = [(*solved(option), option) for option in fewer]
        trial_us, trial, remaining = min(trials, key=operator.itemgetter(0))
        if trial_us >= best_us:
            return best
        best_us, best, offered = trial_us, trial, remaining
    return best


def _scores(stream: VoteStream, lossless: bool) -> np.ndarray:
    """1 - confidence of each row at each exit before the last, float32; -1 where the lossless stop lets it leave."""
    last = stream.exits - 1
    scores = np.float32(1.0) - stream.rows.confidence[:, :last]
    scores[np.isnan(scores)] = np.inf
    if lossless:
        scores[stream.certain[:, None] <= np.arange(last)[None, :]] = -1.0
    return scores


def _hindsight_run(
    stream: VoteStream, policy: str, exit_: np.ndarray, reason: np.ndarray, latency_us: np.ndarray
) -> ReplayRun:
    rows = len(stream)
    return ReplayRun(
        policy=policy,
        exit=exit_,
        reason=reason.astype(np.int8),
        version=np.zeros(rows, dtype=np.int64),
        decided=np.arange(rows, dtype=np.int64),
        risk=np.zeros(rows, dtype=np.float32),
        latency_us=latency_us[exit_],
    )


class _Search:
    """Goes through the offered exits in order; see the module's head."""

    def __init__(self, scores: np.ndarray, wrong: np.ndarray, latency_us: np.ndarray, budget: int) -> None:
        self._exits = scores.shape[1]
        self._latency_us = latency_us
        self._budget = budget
        self._wrong = wrong
        self._scores = scores
        self._order = [np.argsort(scores[:, k], kind="stable") for k in range(self._exits)]
        self.exact = True

    def solve(self) -> tuple[float, tuple[float, ...]]:
        """Least summed latency and the thresholds, one per offered exit."""
        rows = len(self._scores)
        layer: list[_Node] = [
            (0, 0.0, (), np.ones(rows, dtype=bool))
        ]  # losses, latency of those who left, thresholds, still there
        for exit_ in range(self._exits):
            final = exit_ == self._exits - 1
            grown = [child for node in layer for child in self._children(node, exit_, final)]
            layer = grown if final else self._pruned(grown, exit_ + 1)
        return min(
            (spent_us + staying.sum() * self._latency_us[-1], thresholds) for _, spent_us, thresholds, staying in layer
        )

    def _children(self, node: _Node, exit_: int, final: bool) -> list[_Node]:
        """Every sensible threshold at this exit; at the final one only the highest that the budget allows."""
        losses, spent_us, thresholds, staying = node
        here = self._order[exit_][staying[self._order[exit_]]]  # rows still there, surest first
        score, wrong = self._scores[here, exit_], self._wrong[here, exit_]
        stops = score[wrong][: self._budget - losses + 1].astype(np.float64)
        if int(wrong.sum()) <= self._budget - losses:
            stops = np.append(stops, 2.0)  # everybody may leave
        if final:
            stops = stops[-1:]
        children = []
        for stop in np.unique(np.maximum(stops, 0.0)):
            count = int(np.searchsorted(score, stop, side="left"))
            lost = losses + int(wrong[:count].sum())
            if lost > self._budget:
                continue
            after = staying
            if count:
                after = staying.copy()
                after[here[:count]] = False
            children.append((lost, spent_us + count * self._latency_us[exit_], (*thresholds, float(stop)), after))
        return children

    def _pruned(self, layer: list[_Node], exits_done: int) -> list[_Node]:
        """The whole layer while going on from it is affordable, else the most promising nodes."""
        left_over = self._exits - exits_done
        if len(layer) * (self._budget / 2) ** max(0, left_over - 1) <= EXACT_NODES:
            return layer
        self.exact = False
        layer.sort(key=lambda node: (node[0], node[1] + node[3].sum() * self._latency_us[-1]))
        width = max(1, BEAM_NODES // (self._budget + 1))
        return [node for _, group in itertools.groupby(layer, lambda node: node[0]) for node in list(group)[:width]]


# losses so far, summed latency of those who left, thresholds so far, rows still there
_Node = tuple[int, float, tuple[float, ...], np.ndarray]
