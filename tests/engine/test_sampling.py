"""The probability with which answered rows are finished, and the costs that runs are planned with."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from exeunt.engine.plan import RunCosts
from exeunt.engine.sampling import FinishProbability
from tests.deciding.controller_bag import manifest


def test_feedback_is_full_up_to_the_bound():
    sampling = FinishProbability(64, 0.1)
    assert not sampling.update(64, 0) and sampling.q == 1.0


def test_q_halves_at_the_bound_and_with_every_half_bound_beyond():
    for backlog, q in ((65, 0.5), (96, 0.5), (97, 0.25), (129, 0.125)):
        sampling = FinishProbability(64, 0.01)
        sampling.update(backlog, 0)
        assert sampling.q == q


def test_q_does_not_rise_before_the_backlog_is_half_the_bound():
    sampling = FinishProbability(64, 0.1)
    sampling.update(100, 0)
    assert not sampling.update(33, 10**9)
    assert sampling.update(31, 10**9)


def test_q_does_not_rise_twice_within_the_holding_time():
    sampling = FinishProbability(64, 0.1, hold_us=1000)
    sampling.update(200, 0)
    assert sampling.update(0, 1000) and not sampling.update(0, 1999) and sampling.update(0, 2000)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**6)), max_size=50), st.floats(0.01, 1.0))
def test_q_stays_between_its_least_value_and_one(events, least):
    sampling, now_us = FinishProbability(64, least), 0
    for backlog, pause_us in events:
        now_us += pause_us
        sampling.update(backlog, now_us)
        assert least <= sampling.q <= 1.0


def costs_of(profile):
    bag = manifest(depths=((1,),), weights=(1.0,))
    (member,) = bag.members
    segment = dataclasses.replace(member.segments[0], cost_us=profile)
    return RunCosts(dataclasses.replace(bag, members=(dataclasses.replace(member, segments=(segment,)),)))


def test_costs_between_profiled_batches_are_interpolated_and_grow_beyond():
    costs = costs_of({1: 10.0, 3: 20.0, 4: 22.0})
    assert [costs.run_us(0, 0, rows) for rows in (1, 2, 3, 4, 8)] == [10.0, 15.0, 20.0, 22.0, 44.0]


def test_a_segment_without_a_profile_costs_by_its_rows():
    costs = costs_of({})
    assert costs.run_us(0, 0, 4) == 4 * costs.run_us(0, 0, 1)


@given(st.dictionaries(st.integers(1, 8), st.floats(1.0, 100.0), min_size=1), st.floats(0.1, 500.0))
def test_rows_within_a_limit_fit_it_and_one_more_would_not(profile, limit_us):
    costs = costs_of(profile)
    rows = costs.rows_within(0, 0, limit_us)
    assert rows == 1 or all(costs.run_us(0, 0, item) <= limit_us for item in range(1, rows + 1))
    assert rows == costs.most_rows or max(costs.run_us(0, 0, item) for item in range(1, rows + 2)) > limit_us
