"""Segments in sequence must equal the member; the error names the first tensor that differs.

A difference within rtol 1e-4 and atol 1e-5 passes at once. Beyond that the member itself is the measure (`yardstick`):
segments may differ from it by 4 times as much as it differs from itself, when it is run in other ways on the same rows.
So whether an export passes depends on the member, not on luck with the places of cuts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from exeunt.bag_parts import first_rows
from exeunt.contract import FEATURES, PROBABILITIES
from exeunt.errors import ServingError
from exeunt_export import onnxfiles
from exeunt_export.cutting.chain import Chain
from exeunt_export.cutting.yardstick import TIMES, SelfDifference, difference, margins, other_label, self_difference

BATCHES = (1, 7)
LEAST_LABELS = 0.98  # share of labels of a quantised member that must be the same
RTOL, ATOL = 1e-4, 1e-5  # ATOL times the largest number of a cut tensor, where that is above 1
_LABELLED_ROWS, _SINGLE_ROWS = 128, 8
_LEAST_MARGIN = 0.02  # by which a quantised member's label must lead: the last bit of a sum may decide a rounding
Tensors = Mapping[str, np.ndarray]


def verify(chain: Chain, reference: Path, rows: Tensors) -> float:
    """Compare every cut tensor and the probabilities of a split member with the unsplit one's.

    Args:
        chain: the segments.
        reference: ONNX file of the member with all cut tensors as outputs.
        rows: real inputs, at least one row; repeated where there are fewer than 7.

    Returns:
        the largest absolute difference of probabilities that was seen.

    Raises:
        ServingError: a tensor differs; names member, segment, tensor, batch, the difference and what is allowed.
    """
    feeds = [first_rows(rows, batch) for batch in BATCHES]
    whole = _run_unsplit(chain, reference, feeds)
    split = [chain.run(fed) for fed in feeds]
    yardstick: SelfDifference | None = None
    for batch, outputs, expected in zip(BATCHES, split, whole, strict=True):
        for depth, name, array in _tensors(outputs):
            atol = ATOL * _scale(expected[name])
            if np.allclose(array, expected[name], rtol=RTOL, atol=atol, equal_nan=True):
                continue
            if yardstick is None:
                chain.close()
                yardstick = self_difference(reference, feeds, whole)
            apart, allowed = difference(array, expected[name]), max(atol, TIMES * yardstick.apart[name])
            if not apart <= allowed:
                raise ServingError(
                    f"member {chain.name}, segment {depth} of {len(chain.files)}, {name}, batch {batch}: "
                    f"differs from the unsplit member by {apart:.3g} (allowed: {allowed:.3g}; the member differs from "
                    f"itself by {yardstick.apart[name]:.3g}); lower [cuts] exits or max_cut_width"
                )
    if yardstick is not None:
        _check_labels(chain.name, [outputs[-1] for outputs in split], whole, TIMES * yardstick.apart[PROBABILITIES])
    return max(difference(o[-1][PROBABILITIES], e[PROBABILITIES]) for o, e in zip(split, whole, strict=True))


def _check_labels(member: str, split: Sequence[Tensors], whole: Sequence[Tensors], least_margin: float) -> None:
    """Refuse another label where the member's own leads by more than the yardstick."""
    for outputs, expected in zip(split, whole, strict=True):
        lost = other_label(outputs, expected) & (margins(expected[PROBABILITIES]) > max(least_margin, ATOL))
        if lost.any():
            raise ServingError(
                f"member {member}: its segments in sequence give another label than the unsplit member on a row whose "
                f"label leads by {margins(expected[PROBABILITIES])[lost].max():.2g} (allowed: below "
                f"{max(least_margin, ATOL):.2g}); lower [cuts] exits or max_cut_width"
            )


def verify_labels(chain: Chain, reference: Path, rows: Tensors) -> float:
    """Compare the labels of a split quantised member with the unsplit one's.

    Where a number is rounded to one of 256, the last bit of a sum may decide which, so numbers are no measure. A label
    must be the same where it leads by more than the yardstick, and on 98 % of all rows, unless the member changes its
    own labels more often than that.

    Args:
        chain: the segments.
        reference: as for `verify`.
        rows: real inputs; at most 128 of them are compared, in batches of 1 and 7.

    Returns:
        the largest absolute difference of probabilities that was seen.

    Raises:
        ServingError: labels differ that may not.
    """
    count = min(_LABELLED_ROWS, len(next(iter(rows.values()))))
    feeds = []
    for start in (*range(0, _SINGLE_ROWS), *range(_SINGLE_ROWS, count, BATCHES[-1])):
        size = BATCHES[0] if start < _SINGLE_ROWS else BATCHES[-1]
        feeds.append({name: row[start : start + size] for name, row in rows.items()})
    whole = _run_unsplit(chain, reference, feeds, (PROBABILITIES,))
    split = [chain.run(fed)[-1] for fed in feeds]
    changed = np.concatenate([other_label(*pair) for pair in zip(split, whole, strict=True)])
    if changed.any():
        chain.close()
        yardstick = self_difference(reference, feeds, whole)
        margin = np.concatenate([margins(expected[PROBABILITIES]) for expected in whole])
        least = max(_LEAST_MARGIN, TIMES * yardstick.apart[PROBABILITIES])
        share = max(1 - LEAST_LABELS, TIMES * yardstick.other_labels)
        if changed[margin > least].any() or changed.mean() > share:
            raise ServingError(
                f"member {chain.name} is quantised: its {len(chain.files)} segments in sequence give another label "
                f"than the unsplit member on {changed.sum()} of {len(changed)} rows (allowed: {share:.0%}, none of a "
                f"margin above {least:.2g}; the largest here is {margin[changed].max():.2g}); lower [cuts] exits or "
                "max_cut_width"
            )
    return max(difference(o[PROBABILITIES], e[PROBABILITIES]) for o, e in zip(split, whole, strict=True))


def _tensors(outputs: Sequence[Tensors]) -> list[tuple[int, str, np.ndarray]]:
    """(segment counted from 1, name, array) of everything but the ramps' features."""
    return [
        (depth, name, array)
        for depth, tensors in enumerate(outputs, start=1)
        for name, array in tensors.items()
        if name != FEATURES
    ]


def _run_unsplit(
    chain: Chain, reference: Path, feeds: Sequence[Tensors], names: Collection[str] = ()
) -> list[dict[str, np.ndarray]]:
    """What the whole member says, before the segments are opened: its weights are in memory once at a time.

    Args:
        chain: its segments.
        reference: its ONNX file.
        feeds: rows of each run.
        names: outputs to keep; empty for all.
    """
    chain.close()
    session = onnxfiles.open_session(reference, arena=False)
    runs = (onnxfiles.run(session, fed, f"{chain.name}, unsplit") for fed in feeds)
    return [{name: array for name, array in run.items() if name in names or not names} for run in runs]


def _scale(expected: np.ndarray) -> float:
    return float(np.abs(expected.astype(np.float64)).max(initial=1.0, where=np.isfinite(expected)))
