"""Segments in sequence must equal the member; a difference says where it starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from exeunt.contract import FEATURES, PROBABILITIES
from exeunt.errors import ServingError
from exeunt_export import onnxfiles
from exeunt_export.cutting.chain import Chain

BATCHES = (1, 7)
LEAST_LABELS = 0.98  # share of labels of a quantised member that must be the same
_LABELLED_ROWS, _SINGLE_ROWS = 128, 8
RTOL, ATOL = 1e-4, 1e-5  # of a cut tensor ATOL times its largest number, where that is above 1: it may hold anything


def verify(chain: Chain, reference: Path, rows: Mapping[str, np.ndarray]) -> float:
    """Compare every cut tensor and the probabilities of a split member with the unsplit one's.

    Allowed are rtol 1e-4 and atol 1e-5 of the largest number of a tensor or of 1.

    Args:
        chain: the segments.
        reference: ONNX file of the member with all cut tensors as outputs.
        rows: real inputs, at least one row; repeated where there are fewer than 7.

    Returns:
        the largest absolute difference of probabilities that was seen.

    Raises:
        ServingError: a tensor differs; names member, segment, tensor, batch and the difference.
    """
    feeds = [{name: np.resize(row, (batch, *row.shape[1:])) for name, row in rows.items()} for batch in BATCHES]
    whole = _unsplit(chain, reference, feeds)
    worst = 0.0
    for batch, fed, expected in zip(BATCHES, feeds, whole, strict=True):
        for depth, outputs in enumerate(chain.run(fed), start=1):
            for name, found in outputs.items():
                if name == FEATURES:
                    continue
                atol = ATOL * _scale(expected[name])
                if not np.allclose(found, expected[name], rtol=RTOL, atol=atol, equal_nan=True):
                    raise ServingError(
                        f"member {chain.name}, segment {depth} of {len(chain.sessions)}, {name}, batch {batch}: "
                        f"differs from the unsplit member by {_apart(found, expected[name]):.3g} "
                        f"(allowed: rtol {RTOL}, atol {atol:.3g}); lower [cuts] exits or max_cut_width"
                    )
                worst = max(worst, _apart(found, expected[name]) if depth == len(chain.sessions) else 0.0)
    return worst


def verify_labels(chain: Chain, reference: Path, rows: Mapping[str, np.ndarray]) -> float:
    """Compare the labels of a split quantised member with the unsplit one's.

    Where a number is rounded to one of 256, the last bit of a sum may decide which, so numbers are no measure.

    Args:
        chain: the segments.
        reference: as for `verify`.
        rows: real inputs; at most 128 of them are compared, in batches of 1 and 7.

    Returns:
        the largest absolute difference of probabilities that was seen.

    Raises:
        ServingError: labels differ on more than 2 % of the rows.
    """
    count = min(_LABELLED_ROWS, len(next(iter(rows.values()))))
    feeds = []
    for start in (*range(0, _SINGLE_ROWS), *range(_SINGLE_ROWS, count, BATCHES[-1])):
        size = BATCHES[0] if start < _SINGLE_ROWS else BATCHES[-1]
        feeds.append({name: row[start : start + size] for name, row in rows.items()})
    worst, same, compared = 0.0, 0, 0
    whole = _unsplit(chain, reference, feeds, (PROBABILITIES,))
    for fed, (expected,) in zip(feeds, (array.values() for array in whole), strict=True):
        found = chain.run(fed)[-1][PROBABILITIES]
        worst = max(worst, _apart(found, expected))
        same += int((found.argmax(axis=1) == expected.argmax(axis=1)).sum())
        compared += len(expected)
    if same < LEAST_LABELS * compared:
        raise ServingError(
            f"member {chain.name} is quantised: its {len(chain.sessions)} segments in sequence give another label than "
            f"the unsplit member on {compared - same} of {compared} rows (allowed: {1 - LEAST_LABELS:.0%}); lower "
            "[cuts] exits or max_cut_width"
        )
    return worst


def _unsplit(
    chain: Chain, reference: Path, feeds: Sequence[Mapping[str, np.ndarray]], names: Collection[str] = ()
) -> list[dict[str, np.ndarray]]:
    """What the whole member says, before the segments are opened: its weights are in memory once at a time.

    Args:
        chain: its segments.
        reference: its ONNX file.
        feeds: rows of each run.
        names: outputs to keep; empty for all.
    """
    chain.close()
    session = onnxfiles.open_session(reference)
    found = []
    for fed in feeds:
        result = onnxfiles.run(session, fed, f"{chain.name}, unsplit")
        found.append({name: array for name, array in result.items() if name in names or not names})
    return found


def _scale(expected: np.ndarray) -> float:
    return float(np.abs(expected.astype(np.float64)).max(initial=1.0, where=np.isfinite(expected)))


def _apart(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0))
