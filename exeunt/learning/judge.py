"""The judge: would new heads let more rows leave at the same risk? Asked of rows that came after the fit.

The share of rows that may leave at a loss of eps is what a perfect threshold on the confidence would let leave while
at most eps of *all* rows leave with another label than the full vote's. It is taken at half of eps, eps and twice eps,
so that a few losses at the edge do not decide, and its error is estimated by resampling the rows (bootstrap), the same
rows for both heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exeunt.deciding.heads import Head, Pair
from exeunt.learning.rows import ServedRows
from exeunt.learning.vote_structure import VoteStructure

SHARES_OF_EPS = (0.5, 1.0, 2.0)
LEAST_EPS = 0.001
RESAMPLES = 64
LEAST_GAIN = 0.01  # of all rows; less is not worth a calibration that starts anew
SURE = 2.0  # standard errors
HARM = 0.005  # an exit that lets so many fewer leave has got worse


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the later rows say of new heads.

    Attributes:
        pairs: ramps whose new head is to replace the old one; none: keep all as they are.
        gains: float64 [exits], share of rows that may leave with these heads less what may leave now; NaN where an exit
            has none of them.
        agreement: float64 [exits, 2], share of rows with the full vote's label, before and with all new heads.
    """

    pairs: tuple[Pair, ...]
    gains: np.ndarray
    agreement: np.ndarray


def may_leave(confidence: np.ndarray, wrong: np.ndarray, weights: np.ndarray, eps: float) -> np.ndarray:
    """Share of rows that may leave while at most `eps` of all rows are lost, with hindsight on the threshold.

    Args:
        confidence: float [rows].
        wrong: bool [rows].
        weights: float [samples, rows], what each row counts in each sample.
        eps: share of all rows.

    Returns:
        float64 [samples].
    """
    order = np.argsort(-confidence, kind="stable")
    counted = weights[:, order].astype(np.float64)
    total = counted.sum(axis=1)
    lost = np.cumsum(counted * wrong[order], axis=1)
    within = lost <= eps * total[:, None] + 1e-9  # a prefix of the rows: what is lost only grows
    return np.asarray((counted * within).sum(axis=1) / total)


def judge(
    structure: VoteStructure,
    rows: ServedRows,
    in_use: Mapping[Pair, Head],
    new: Mapping[Pair, Head],
    eps: float,
    rng: np.random.Generator,
) -> Verdict:
    """Compare heads on rows that neither was fitted to.

    A ramp that votes at an exit which would get worse keeps its old head; the others are judged again without it.

    Args:
        structure: of the bag.
        rows: at least one.
        in_use: the head of every ramp that can learn.
        new: candidates for some of them.
        eps: the promised loss.
        rng: of the resampling.
    """
    weights = 1.0 / rows.q.astype(np.float64)
    samples = np.concatenate([np.ones((1, len(rows))), rng.poisson(1.0, (RESAMPLES, len(rows)))]) * weights
    samples = samples[samples.sum(axis=1) > 0]
    before = structure.exit_votes(rows, in_use)
    agreement = np.stack(
        [_agreement(before, weights), _agreement(structure.exit_votes(rows, {**in_use, **new}), weights)], axis=1
    )
    pairs = tuple(sorted(new))
    while pairs:
        after = structure.exit_votes(rows, {**in_use, **{pair: new[pair] for pair in pairs}})
        gains, errors = _gains(structure, before, after, pairs, samples, max(eps, LEAST_EPS))
        worse = [exit_ for exit_, gain in enumerate(gains) if gain < -HARM]
        if not worse:
            sure = (gains >= LEAST_GAIN) & (gains >= SURE * errors)
            return Verdict(pairs if sure.any() else (), gains, agreement)
        losing = {pair for exit_ in worse for pair in structure.midway(exit_)}
        pairs = tuple(pair for pair in pairs if pair not in losing)
    return Verdict((), np.full(len(structure.exit_depths), np.nan), agreement)


def _gains(
    structure: VoteStructure,
    before: tuple[np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray],
    pairs: tuple[Pair, ...],
    samples: np.ndarray,
    eps: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Gain of every exit and its standard error, both float64 [exits]; NaN where an exit is not concerned."""
    exits = len(structure.exit_depths)
    gains, errors = np.full(exits, np.nan), np.full(exits, np.nan)
    for exit_ in range(exits - 1):
        if not any(pair in pairs for pair in structure.midway(exit_)):
            continue
        gain = np.zeros(len(samples))
        for share in SHARES_OF_EPS:
            for sign, (labels, confidence) in ((1.0, after), (-1.0, before)):
                wrong = labels[:, exit_] != labels[:, -1]
                sure = np.where(np.isfinite(confidence[:, exit_]), confidence[:, exit_], -1.0)
                gain += sign * may_leave(sure, wrong, samples, share * eps) / len(SHARES_OF_EPS)
        gains[exit_], errors[exit_] = gain[0], gain[1:].std()
    return gains, errors


def _agreement(exit_votes: tuple[np.ndarray, np.ndarray], weights: np.ndarray) -> np.ndarray:
    labels = exit_votes[0]
    return np.asarray(np.average(labels == labels[:, -1:], axis=0, weights=weights))
