"""Intervals of shares and means that were seen on few rows."""

from __future__ import annotations

import numpy as np
import pytest

from exeunt_export.report.intervals import mean_range, share_range

STREAMS = 2000


@pytest.mark.parametrize("share", [0.005, 0.01, 0.05, 0.5])
def test_nineteen_of_twenty_intervals_hold_the_true_share(share: float) -> None:
    hits = np.random.default_rng(0).binomial(1000, share, STREAMS)
    ranges = [share_range(int(count), 1000) for count in hits]
    assert np.mean([low <= share <= high for low, high in ranges]) == pytest.approx(0.95, abs=0.025)


def test_nineteen_of_twenty_intervals_hold_the_true_mean() -> None:
    drawn = np.random.default_rng(0).exponential(3.0, (STREAMS, 300))
    ranges = [mean_range(rows) for rows in drawn]
    assert np.mean([low <= 3.0 <= high for low, high in ranges]) == pytest.approx(0.95, abs=0.025)


def test_a_share_that_was_never_seen_may_still_be_there() -> None:
    low, high = share_range(0, 300)
    assert low == 0.0 and 0.005 < high < 0.02


def test_a_share_is_never_above_one() -> None:
    assert share_range(50, 50)[1] == 1.0
