"""Refitting one head: a linear layer on pooled features, distilled from the full vote, started from the head in use.

Fitted by `descend`, which the processor's clock may stop at any moment. The newest rows are held out, since those that
come next are like them. What limits the fit is that it starts from a head that was trained on other rows and is stopped
early.

Columns of classes that no row votes for stay as they are, and count as one class: of 1000 a stream may show 200.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exeunt.deciding.heads import Head
from exeunt.learning.descent import Examples, Limits, descend

HELD_OUT = 0.2  # share of the rows, the newest
LEAST_ROWS = 64
MOST_STEPS = 24
PATIENCE = 8  # steps in a row that do not help the held-out rows
RIDGE = 1e-3  # on the change of a weight, per standard deviation of its feature
LEAST_SHARE = 0.1  # a class that the full vote of some row gives this much may change its column
ENOUGH = 1e-3  # least gain on the held-out rows that makes a new head, in nats


@dataclass(frozen=True, slots=True)
class Refit:
    """What became of a fit.

    Attributes:
        head: the new head; None where nothing better was found in time.
        before: cross-entropy of the head in use on the held-out rows, nats per row; classes whose columns stay as they
            are count as one.
        after: the new head's.
        steps: descents made.
    """

    head: Head | None
    before: float
    after: float
    steps: int


def refit(
    head: Head,
    features: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray,
    *,
    clock_s: Callable[[], float],
    until_s: float,
) -> Refit:
    """Fit a head to the full vote.

    Args:
        head: the one in use; the fit starts there.
        features: float16 or float32 [rows, f], oldest row first.
        target: float32 [rows, classes], the full vote.
        weights: float32 [rows], what each row counts.
        clock_s: the processor time used so far.
        until_s: when to stop, by that clock.
    """
    nothing = Refit(None, 0.0, 0.0, 0)
    features = features.astype(np.float32)
    good = np.isfinite(features).all(axis=1) & np.isfinite(target).all(axis=1)
    features, target, weights = features[good], target[good], weights[good]
    if len(features) < LEAST_ROWS:
        return nothing
    spot = _Spot.of(features, target)
    if not len(spot.columns) or clock_s() >= until_s:
        return nothing
    split = len(features) - max(1, int(len(features) * HELD_OUT))
    fitted, unseen = (
        spot.examples(head, features[part], target[part], weights[part]) for part in (slice(split), slice(split, None))
    )
    limits = Limits(RIDGE / split, MOST_STEPS, PATIENCE, ENOUGH / 10)
    fit = descend(fitted, unseen, features.shape[1], limits, go_on=lambda: clock_s() < until_s)
    if fit.before - fit.after < ENOUGH:
        return Refit(None, fit.before, fit.after, fit.steps)
    return Refit(spot.head(head, fit.change), fit.before, fit.after, fit.steps)


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a fit takes place.

    Attributes:
        columns: int64, classes that may change.
        mean, scale: float32 [f], of the features: they are standardised as (features - mean) * scale.
    """

    columns: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, target: np.ndarray) -> _Spot:
        """Of all rows, those that are held out among them."""
        spread = features.std(axis=0)
        scale = np.where(spread > 1e-6, 1.0 / np.maximum(spread, 1e-6), 0.0).astype(np.float32)
        return cls(np.flatnonzero(target.max(axis=0) >= LEAST_SHARE), features.mean(axis=0), scale)

    def examples(self, head: Head, features: np.ndarray, target: np.ndarray, weights: np.ndarray) -> Examples:
        """Rows as the head in use sees them; scores of the classes that stay are summed up."""
        scores = head.scores(features)
        scores -= scores.max(axis=1, keepdims=True)
        others = np.delete(scores, self.columns, axis=1)
        with np.errstate(divide="ignore"):
            rest = np.log(np.exp(others).sum(axis=1))  # -inf without any
        inputs = (features - self.mean) * self.scale
        counts = (weights / weights.sum()).astype(np.float32)
        return Examples(lambda: (inputs,), scores[:, self.columns], target[:, self.columns], counts, rest)

    def head(self, head: Head, change: np.ndarray) -> Head:
        """The head with a change, standardisation folded in."""
        weight, bias = head.weight.copy(), head.bias.copy()
        scaled = self.scale[:, None] * change[:-1]
        weight[:, self.columns] += scaled
        bias[self.columns] += change[-1] - self.mean @ scaled
        return Head(weight.astype(np.float32), bias.astype(np.float32))
