"""What is measured of the members on this host."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exeunt.costing.host_times import HostTimes, measure, slowdown_of
from exeunt.errors import ConfigError
from exeunt.serving.bags import bag_of


def test_members_beside_each_other_are_slowed_down_by_what_their_cores_do_not_explain() -> None:
    # two cores do 160 a second for 200; four members on them still do 160
    assert slowdown_of({1: 100.0, 2: 160.0, 4: 160.0}, cores=2) == pytest.approx((1.0, 1.25, 1.25, 1.25))


def test_a_lucky_measurement_does_not_make_members_faster_beside_others() -> None:
    assert slowdown_of({1: 100.0, 2: 220.0, 3: 190.0}, cores=2) == pytest.approx((1.0, 1.0, 200 / 190))


def test_every_segment_of_every_member_is_timed(tiny_exported: Path) -> None:
    bag = bag_of(tiny_exported)
    times = measure(bag.manifest, bag.folder, cores=2, seconds=0.1)
    assert [passes_us.shape[1] for passes_us in times.passes_us] == [member.depth for member in bag.manifest.members]
    assert all((passes_us > 0).all() for passes_us in times.passes_us)
    assert len(times.slowdown) == 2 and len(times.batch_factors) == len(bag.manifest.members)


def test_real_rows_must_have_every_input(tiny_exported: Path) -> None:
    bag = bag_of(tiny_exported)
    with pytest.raises(ConfigError, match="is missing"):
        measure(bag.manifest, bag.folder, cores=1, seconds=0.1, inputs={"other": np.zeros((1, 2))})


@pytest.mark.parametrize(("slow_passes", "busy"), [(5, False), (15, True)])
def test_a_host_is_busy_where_one_pass_in_ten_takes_far_longer_than_the_others(slow_passes: int, busy: bool) -> None:
    passes_us = np.array([[100.0]] * (100 - slow_passes) + [[200.0]] * slow_passes)
    assert HostTimes((passes_us,), (1.0,), (8.0,)).busy is busy
