from __future__ import annotations

import dataclasses

import pytest

from exeunt.demo.accounting import SEGMENTS, account, wall_ms
from exeunt.manifest import Manifest
from exeunt.measuring.server_times import ModelTimes
from tests.deciding.controller_bag import manifest


def bag() -> Manifest:
    """Three members of 2, 3 and 2 segments at 10 us each, with their unsplit models."""
    base = manifest()
    return dataclasses.replace(
        base, members=tuple(dataclasses.replace(member, model=f"bag_{member.name}") for member in base.members)
    )


def times(requests: int, infer_us: float) -> ModelTimes:
    return ModelTimes(requests, requests, 4 * infer_us, infer_us, infer_us / 2, infer_us)


def test_work_is_told_per_request_of_the_public_model() -> None:
    lines = account(bag(), {"bag": times(10, 1.0), "bag_m0_s1": times(10, 20_000), "bag_m1_s1": times(10, 40_000)})
    (line,) = [item for item in lines if item.group == SEGMENTS]
    assert (line.public, line.runs) == ("bag", 2.0)
    assert (line.infer_ms, line.queue_ms, line.copy_ms) == pytest.approx((6.0, 6.0, 3.0))
    assert line.profile_ms == pytest.approx(0.02)


def test_the_baseline_is_charged_for_its_own_members() -> None:
    lines = account(bag(), {"bag_full": times(4, 1.0), "bag_m1": times(4, 8000), "bag_vote": times(4, 400)})
    assert {line.public for line in lines} == {"bag_full"}
    assert [line.infer_ms for line in lines] == pytest.approx([2.0, 0.1])
    assert lines[0].profile_ms == pytest.approx(0.03)


def test_what_did_not_run_is_left_out() -> None:
    assert account(bag(), {"bag": times(3, 1.0)}) == []


def test_wall_time_is_a_mean_per_request() -> None:
    assert wall_ms({"bag": times(10, 1000)}, "bag") == pytest.approx(0.4)
    assert wall_ms({}, "bag") is None
