"""The simulated host and its models, against cases worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from exeunt.costing.simulated_host import Kernel, ServedModel, SimulatedHost

NEVER_US = math.inf


def host_of(cores: int, slowdown: tuple[float, ...] = (), idle_us: float = NEVER_US) -> SimulatedHost:
    """A host whose kernel gives turns of 4 us."""
    return SimulatedHost(cores, slowdown, Kernel(4.0, idle_us), np.random.default_rng(0))


def ends_us(host: SimulatedHost, work: list[tuple[float, float, int | None]]) -> list[float]:
    """When each piece of work (begun at, time of a core, where) ends."""
    ends = [0.0] * len(work)

    def ended(number: int) -> None:
        ends[number] = host.now_us

    for number, (at_us, core_us, core) in enumerate(work):
        host.at(at_us, partial(host.work, core_us, partial(ended, number), core))
    host.run()
    return ends


def test_work_on_one_core_runs_by_turns() -> None:
    # the first has turns until 4 and, alone, until 8; then the second runs to its end, then the first's last 2
    assert ends_us(host_of(1), [(0, 10, None), (5, 2, None)]) == pytest.approx([12, 10])


def test_three_on_one_core_wait_for_two_turns() -> None:
    # 0-4 a, 4-8 b, 8-9 c, 9-11 a, 11-13 b
    assert ends_us(host_of(1), [(0, 6, None), (0, 6, None), (0, 1, None)]) == pytest.approx([11, 13, 9])


def test_work_begins_on_an_idle_core() -> None:
    assert ends_us(host_of(2), [(0, 10, None), (5, 2, None)]) == pytest.approx([10, 7])


def test_work_beside_other_work_is_slowed_down_while_the_other_runs() -> None:
    # both at half speed until 4: then 4 of 6 are left, at full speed
    assert ends_us(host_of(2, (1.0, 2.0)), [(0, 6, None), (0, 2, None)]) == pytest.approx([8, 4])


def test_work_is_slowed_down_by_what_waits_too() -> None:
    # three at 1 / 1.5 until 3, when the one on its own core and the first of the others end; the last takes 2 more
    assert ends_us(host_of(2, (1.0, 1.0, 1.5)), [(0, 2, 0), (0, 2, 0), (0, 2, 1)]) == pytest.approx([3, 5, 3])


def test_a_core_that_became_idle_takes_over_what_waits_after_a_while() -> None:
    crowded = [(0.0, 10.0, 0), (0.0, 10.0, 0), (0.0, 2.0, 1)]
    # by turns: 0-4 a, 4-8 b, 8-12 a, 12-16 b, 16-18 a, 18-20 b
    assert ends_us(host_of(2), crowded) == pytest.approx([18, 20, 2])
    # at 3 the other core takes b, which has not begun
    assert ends_us(host_of(2, idle_us=1.0), crowded) == pytest.approx([10, 13, 2])


def answers_us(most_rows: int, arrivals_us: list[float]) -> list[float]:
    """Answers of a model that takes 10 us a row."""
    host = host_of(1)
    model = ServedModel(host, most_rows, lambda rows: 10.0 * rows)
    answers = [0.0] * len(arrivals_us)

    def answered(number: int) -> None:
        answers[number] = host.now_us

    for number, at_us in enumerate(arrivals_us):
        host.at(at_us, partial(model.infer, 1, partial(answered, number)))
    host.run()
    return answers


def test_requests_that_wait_for_a_model_share_its_next_run() -> None:
    assert answers_us(8, [0, 1, 2]) == pytest.approx([10, 30, 30])


def test_a_run_takes_no_more_rows_than_it_may() -> None:
    assert answers_us(2, [0, 1, 2, 3]) == pytest.approx([10, 30, 30, 40])
