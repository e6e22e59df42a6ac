"""Training the ramps: one linear layer each on frozen features, against the full ensemble's soft vote.

The labels are the ensemble's own votes, never the truth (Apparate, section 3.1), so unlabelled samples do, and a ramp
learns to say early what the full vote will say. Each ramp is trained alone, so none depends on which others are active.

Features are read in chunks from wherever they lie, so that a large bag needs no more memory than a small one: of the
features at most one chunk is held.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from exeunt.deciding.heads import Head
from exeunt.errors import ConfigError
from exeunt.learning.descent import Examples, Limits, descend
from exeunt_export.features import CHUNK_ROWS, Standardisation, StandardisedRows, chunks
from exeunt_export.mapped import release_pages

_HELD_OUT = 0.15
_RIDGES = (1e-2, 1e-3, 1e-5)  # tried in turn while the held-out rows gain, per standard deviation of a feature
_MOST_STEPS = 80  # with a ridge
_MOST_STEPS_ON = 50  # with the held-out rows among the others
_CONVERGED = 6e-4  # gain of a step, nats per row
_LEAST_GAIN = 1e-4  # of another ridge, nats per row
_FEWEST_ROWS = 20
_TYPICAL_STEPS = 50
_MOST_TURNED = 1 << 22  # features of all rows, see _basis: 16 MiB
_LEAST_PRIOR = 1e-6  # share of a class that no sample votes for


@dataclass(frozen=True, slots=True)
class OwnRamp:
    """An exit that the member brings itself: its features are its probabilities."""

    classes: int

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """The features as they are, float32 [rows, classes]."""
        return np.asarray(features)


AnyRamp = Head | OwnRamp
MemberDepth = tuple[str, int]  # member, depth


def train(
    features: Mapping[MemberDepth, np.ndarray],
    vote: np.ndarray,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    rows: np.ndarray | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> dict[MemberDepth, Head]:
    """Train one ramp per cut.

    Cross-entropy against the soft vote by conjugate gradients (exeunt.learning.descent), with a ridge that is weakened
    while held-out rows gain by it; then these join the others for some steps more, since samples are few.

    Args:
        features: (member, depth) -> float32 [all rows, f], in memory or mapped.
        vote: the full vote on the rows to train on, float32 [rows, classes].
        seed: of the held-out part.
        progress: called with (ramps trained, ramps).
        rows: numbers of the rows to train on, int64 [rows]; None = all.
        chunk_rows: most rows of features that are held in memory.

    Raises:
        ConfigError: too few rows, or features that are not finite.
    """
    if not features:
        return {}
    count = len(vote)
    if count < _FEWEST_ROWS:
        raise ConfigError(
            f"samples: {count} rows are left for the ramps; give at least {_FEWEST_ROWS} (some hundreds do well)"
        )
    order = np.random.default_rng(seed).permutation(count)
    held_out, fitting = (np.sort(part) for part in np.split(order, [max(2, int(count * _HELD_OUT))]))
    numbers = np.arange(count) if rows is None else rows
    trained: dict[MemberDepth, Head] = {}
    for key, feature in features.items():
        standard = _standard(key, feature, numbers[fitting], numbers[held_out], chunk_rows)
        with tempfile.TemporaryDirectory() as scratch:
            to_fit, to_judge = (
                StandardisedRows(feature, numbers[part], standard, chunk_rows, Path(scratch) / name)
                for name, part in (("kept.npy", fitting), ("held.npy", held_out))
            )
            basis = _basis(to_fit, to_judge, vote.shape[1])
            if basis is not None:
                to_fit.project(basis)
                to_judge.project(basis)
            weight, bias = _fit(to_fit, to_judge, vote[fitting], vote[held_out])
        trained[key] = standard.fold_into_head(weight if basis is None else basis @ weight, bias)
        release_pages(feature)
        if progress is not None:
            progress(len(trained), len(features))
    return trained


def _standard(
    key: MemberDepth, features: np.ndarray, fitting: np.ndarray, held_out: np.ndarray, chunk_rows: int
) -> Standardisation:
    """How a ramp's features are standardised; ConfigError where some are no finite numbers."""
    standard = Standardisation.of(features, fitting, chunk_rows)
    for part in chunks(len(held_out), chunk_rows):
        _check_finite(key, features[held_out[part]])
    _check_finite(key, standard.mean)
    return standard


def _check_finite(key: MemberDepth, numbers: np.ndarray) -> None:
    if not np.isfinite(numbers).all():
        member, depth = key
        raise ConfigError(f"samples: member {member}, cut {depth} gives features that are not finite numbers")


def _basis(fitting: StandardisedRows, held_out: StandardisedRows, classes: int) -> np.ndarray | None:
    """Axes of the space that the rows span, float32 [f, rows], in which the same fit takes fewer multiplications.

    None where it would not pay, or where the rows are not in memory. Gradients lie in that space, and so does every
    step; the fit is the same up to rounding.
    """
    rows, width = len(fitting) + len(held_out), fitting.width
    saved, spent = _TYPICAL_STEPS * (width - rows) * classes, rows * width
    if spent > min(saved, _MOST_TURNED) or fitting.all_rows is None or held_out.all_rows is None:
        return None
    return np.asarray(np.linalg.qr(np.concatenate([fitting.all_rows, held_out.all_rows]).T)[0])


def _fit(
    fitting: StandardisedRows, held_out: StandardisedRows, vote: np.ndarray, held_out_vote: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Weight float32 [f, classes] and bias float32 [classes] on standardised features."""
    prior = np.log(vote.mean(axis=0) + _LEAST_PRIOR).astype(np.float32)  # a ramp that knows nothing starts there

    def examples(inputs: Callable[[], Iterator[np.ndarray]], goal: np.ndarray) -> Examples:
        scores = np.repeat(prior[None], len(goal), axis=0)
        return Examples(inputs, scores, goal, np.full(len(goal), 1.0 / len(goal), dtype=np.float32))

    to_fit, to_judge = examples(fitting.chunks, vote), examples(held_out.chunks, held_out_vote)
    best, ridge, change = np.inf, 0.0, np.zeros((fitting.width + 1, vote.shape[1]), dtype=np.float32)
    last = change
    for tried in _RIDGES:
        fit = descend(to_fit, to_judge, fitting.width, Limits(tried, _MOST_STEPS, converged=_CONVERGED), start=last)
        if fit.after >= best - _LEAST_GAIN:
            break
        best, ridge, change, last = fit.after, tried, fit.change, fit.last
    everything = examples(lambda: chain(fitting.chunks(), held_out.chunks()), np.concatenate([vote, held_out_vote]))
    everything.move(change)
    limits = Limits(ridge, _MOST_STEPS_ON, converged=_CONVERGED)
    change = descend(everything, None, fitting.width, limits, start=change).last
    return change[:-1], change[-1] + prior
