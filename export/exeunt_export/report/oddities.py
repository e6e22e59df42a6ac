"""Warnings about samples and members with which something is probably wrong, one for each kind."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from exeunt_export.mapped import release_pages

_LET_GO_EVERY = 64  # rows
_FEW = 0.5  # warn where a smaller share of the sample rows is unlike all others
_LEAST_APART = 1e-6  # probabilities that move less than this over the samples do not move


def oddity_warnings(
    samples: Mapping[str, np.ndarray], finished: Mapping[str, np.ndarray], labels: tuple[str, ...]
) -> tuple[str, ...]:
    """Warnings about samples that repeat, members without votes, and members that always say the same.

    Args:
        samples: public input -> [rows, ...].
        finished: member -> its probabilities on all samples, float32 [rows, classes].
        labels: names of the classes.
    """
    warnings = [*_copies_warning(samples)]
    silent, constant = [], []
    for name, votes in finished.items():
        lost = int((~np.isfinite(votes).all(axis=1)).sum())
        finite = votes[np.isfinite(votes).all(axis=1)]
        if lost:
            silent.append(f"{name} on {lost} of {len(votes)}")
        if len(finite) > 1 and float(np.ptp(finite, axis=0).max()) < _LEAST_APART:
            constant.append(f"{name} ({labels[int(finite[0].argmax())]!r} on all {len(finite)})")
    if silent:
        warnings.append(
            f"no finite probabilities on sample rows: {', '.join(silent)}; there the other members vote alone. Look "
            "for inputs out of the range that it was trained on"
        )
    if constant:
        warnings.append(
            f"the same answer to every sample: {', '.join(constant)}; it adds work and no knowledge. Look for inputs "
            "scaled otherwise than in training"
        )
    return tuple(warnings)


def _copies_warning(samples: Mapping[str, np.ndarray]) -> list[str]:
    """A warning where most rows are copies of others."""
    rows = len(next(iter(samples.values())))
    digests = set()
    for row in range(rows):
        digest = hashlib.blake2b(digest_size=16)
        for array in samples.values():
            digest.update(np.ascontiguousarray(array[row]).tobytes())
        digests.add(digest.digest())
        if row % _LET_GO_EVERY == 0:
            release_pages(*samples.values())
    if len(digests) >= _FEW * rows:
        return []
    what = "are all the same" if len(digests) == 1 else f"are only {len(digests)} different ones"
    return [
        f"the {rows} samples {what}: ramps and calibration learn nothing from copies; give real inputs as they come"
    ]
