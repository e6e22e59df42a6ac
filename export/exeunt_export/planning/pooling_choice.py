"""Which pooling a cut's ramp gets: means or maxima (exeunt_export.cutting.pooling), whichever saves more time.

One run of the samples gives both, and a ramp is trained on each. Rows that neither ramp has seen show how many may
leave early by it. What decides is the time that these save, less what the ramp costs every row. Agreement does not
decide: a ramp is as good as its surest rows. Means stay unless maxima save clearly more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from exeunt.deciding.heads import Head
from exeunt.learning.judge import may_leave
from exeunt_export import onnxfiles, voting
from exeunt_export.cutting.chain import Chain
from exeunt_export.cutting.pooling import BOTH, MAX, MEAN
from exeunt_export.cutting.split import Cut, split
from exeunt_export.features import chunks, create_mapped
from exeunt_export.mapped import release_pages
from exeunt_export.planning.cut_members import CutMember
from exeunt_export.planning.opening import OpenedBag
from exeunt_export.planning.plan import ExitPlan
from exeunt_export.planning.pricing import RampPrices
from exeunt_export.ramps.train import MemberDepth, train

_SHARES_LOST = (0.005, 0.01, 0.02)  # several, so that a few losses at the edge of one do not decide
_WORTH = 0.01  # of the member's time: what maxima must save beyond means
_RESAMPLES = 64
_COPIED_ROWS = 512  # at a time
_MOST_JUDGED_ROWS = 4000


def with_both_poolings(plan: ExitPlan) -> ExitPlan:
    """The plan with both poolings at every cut that has a choice."""
    return _with_pools(plan, lambda number, depth, cut: BOTH if _has_choice(cut) else cut.pool)


def _has_choice(cut: Cut) -> bool:
    return not cut.own_exit and len(cut.columns(MEAN)) < len(cut.columns(BOTH))


def _with_pools(plan: ExitPlan, pool: Callable[[int, int, Cut], str]) -> ExitPlan:
    cuts = tuple(
        tuple(dataclasses.replace(cut, pool=pool(number, depth, cut)) for depth, cut in enumerate(member_cuts, start=1))
        for number, member_cuts in enumerate(plan.cuts)
    )
    return dataclasses.replace(plan, cuts=cuts)


def train_and_choose_pooling(
    opened: OpenedBag,
    plan: ExitPlan,
    cut: Sequence[CutMember],
    vote: np.ndarray,
    work: Path,
    progress: Callable[[int, int], None],
) -> tuple[ExitPlan, list[CutMember], dict[MemberDepth, Head]]:
    """Train the ramps, and leave one pooling at every cut.

    Args:
        opened: the bag.
        plan: as `with_both_poolings` gives it.
        cut: its members; their files are written anew where a pooling was chosen.
        vote: the full vote on every sample, float32 [rows, classes].
        work: folder for features.
        progress: called with (ramps trained, ramps).

    Returns:
        the plan, its members, and (member, depth) -> ramp of every cut that is no exit of the member's own.
    """
    names = [member.name for member in opened.bag.members]
    features = _by_pool(names, plan, cut, work)
    ramps = _train(opened, features, vote, progress)
    prices = RampPrices(len(opened.labels), opened.bag.cuts.times)

    def pool_of(number: int, depth: int, one: Cut) -> str:
        key = names[number], depth
        if key not in features[MAX]:
            return one.pool
        left_us = (1.0 - one.boundary.share) * opened.members[number].costs.total_us
        mean_us, max_us = (
            _leaving_share(ramps[pool][key], features[pool][key], vote, opened) * left_us - _price_us(prices, one, pool)
            for pool in (MEAN, MAX)
        )
        gain_us = max_us - mean_us
        clearly = gain_us[0] - gain_us[1:].std() > _WORTH * opened.members[number].costs.total_us
        return MAX if clearly else MEAN

    final = _with_pools(plan, pool_of)
    members, heads = list(cut), dict[MemberDepth, Head]()
    for number, (name, member_cuts) in enumerate(zip(names, final.cuts, strict=True)):
        pools = [one.pool if (name, depth) in ramps[MAX] else MEAN for depth, one in enumerate(member_cuts, start=1)]
        heads |= {(name, d): ramps[pool][name, d] for d, pool in enumerate(pools, start=1) if (name, d) in ramps[pool]}
        if member_cuts != plan.cuts[number]:
            kept_features = [
                features[pool].get((name, d), cut[number].features[d - 1]) for d, pool in enumerate(pools, start=1)
            ]
            members[number] = _split_again(opened, final, number, cut[number], kept_features)
    return final, members, heads


def _by_pool(
    names: Sequence[str], plan: ExitPlan, cut: Sequence[CutMember], work: Path
) -> dict[str, dict[MemberDepth, np.ndarray]]:
    """Pool -> (member, depth) -> features; those of a cut without a choice are among the means'."""
    features: dict[str, dict[MemberDepth, np.ndarray]] = {MEAN: {}, MAX: {}}
    for name, member_cuts, member in zip(names, plan.cuts, cut, strict=True):
        for depth, (cut_, cut_features) in enumerate(zip(member_cuts, member.features, strict=True), start=1):
            if _has_choice(cut_):
                for pool, of_pool in features.items():
                    of_pool[name, depth] = _columns(
                        cut_features, cut_.columns(pool), work / f"{name}_{depth}_{pool}.npy"
                    )
            elif not cut_.own_exit:
                features[MEAN][name, depth] = cut_features
    return features


def _train(
    opened: OpenedBag,
    features: dict[str, dict[MemberDepth, np.ndarray]],
    vote: np.ndarray,
    progress: Callable[[int, int], None],
) -> dict[str, dict[MemberDepth, Head]]:
    """Pool -> (member, depth) -> ramp."""
    rows, total, trained_ramps = opened.parts.ramps, sum(map(len, features.values())), 0
    ramps: dict[str, dict[MemberDepth, Head]] = {}
    for pool, of_pool in features.items():

        def advance(count: int, _: int, before: int = trained_ramps) -> None:
            progress(before + count, total)

        ramps[pool] = train(of_pool, vote[rows], opened.bag.seed, advance, rows=rows)
        trained_ramps += len(of_pool)
    return ramps


def _columns(features: np.ndarray, columns: np.ndarray, path: Path) -> np.ndarray:
    """Some columns of features, float32 [rows, columns], in a file that is mapped."""
    copied = create_mapped(path, len(features), len(columns))
    for part in chunks(len(features), _COPIED_ROWS):
        copied[part] = features[part][:, columns]
    release_pages(features, copied)
    return copied


def _leaving_share(ramp: Head, features: np.ndarray, vote: np.ndarray, opened: OpenedBag) -> np.ndarray:
    """Share of the calibration rows that may leave by a ramp, a mean over some promises.

    Returns:
        float64 [1 + resamples]: of all rows, then of rows drawn again from them (bootstrap), the same for every ramp.
    """
    rows = voting.spread_sample(opened.parts.calibration, _MOST_JUDGED_ROWS, 4 * features.shape[1])
    probabilities = ramp.probabilities(features[rows])
    largest = np.partition(probabilities, -2, axis=1)[:, -2:]
    wrong = probabilities.argmax(axis=1) != vote[rows].argmax(axis=1)
    count = len(rows)
    drawn = np.random.default_rng(opened.bag.seed).multinomial(count, np.full(count, 1.0 / count), size=_RESAMPLES)
    weights = np.concatenate([np.ones((1, count)), drawn])
    return np.mean([may_leave(largest[:, 1] - largest[:, 0], wrong, weights, lost) for lost in _SHARES_LOST], axis=0)


def _price_us(prices: RampPrices, cut: Cut, pool: str) -> float:
    pooled = dataclasses.replace(cut, pool=pool)
    return prices.pooling_us(pooled) + prices.heads_us([pooled])


def _split_again(
    opened: OpenedBag, plan: ExitPlan, number: int, cut: CutMember, features: list[np.ndarray]
) -> CutMember:
    """A member with other poolings, its files written anew; cuts, weights and answers are what they were."""
    cut.chain.close()
    parts = split(opened.members[number].member, plan.cuts[number])
    for piece, file in zip(parts.pieces, cut.files, strict=True):
        onnxfiles.save(piece.model, file)
    return dataclasses.replace(cut, pieces=parts.pieces, chain=Chain(cut.chain.name, cut.files), features=features)
