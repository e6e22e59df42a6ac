"""Choosing schedules: times on workers, fitted weights, and what cascade and auto are worth."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.deciding import votes
from exeunt.deciding.request import Request
from exeunt.engine.exit_times import exit_times
from exeunt.engine.plan import RunCosts, RunPlan
from exeunt_export.schedule.choose import choose, side_by_side
from exeunt_export.schedule.evaluate import ScheduleEvaluator, ScheduleInputs
from exeunt_export.schedule.exit_weights import fitted_weights
from exeunt_export.schedule.paths import after_finished_members
from exeunt_export.schedule.risk import RiskCurve
from tests.deciding.controller_bag import controller, votes_of
from tests.engine.scenes import engine_bag
from tests.engine.simulate import Simulation

ROWS, CLASSES = 400, 5
SEGMENTS_US = [[10.0, 10.0], [30.0, 30.0, 30.0], [40.0, 40.0]]


def member_votes(skills, seed=0, segments_us=SEGMENTS_US, rows=ROWS):
    """Members that grow surer and more right with depth; `skills[member]` scales how much they know at the end."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, rows)
    hard = rng.uniform(0, 1, rows)
    probabilities = {}
    for member, member_us in enumerate(segments_us):
        for depth in range(1, len(member_us) + 1):
            scores = rng.standard_normal((rows, CLASSES))
            scores[np.arange(rows), truth] += 8 * skills[member] * (1 - 0.8 * hard) * depth / len(member_us)
            share = np.exp(scores)
            probabilities[member, depth] = (share / share.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def bag_of(workers=1, skills=(0.6, 1.0, 1.0), seed=0, segments_us=SEGMENTS_US, rows=ROWS, **other):
    probabilities = member_votes(skills, seed, segments_us, rows)
    weights = [1.0] * len(segments_us)
    return ScheduleEvaluator(ScheduleInputs(segments_us, probabilities, weights, "soft", workers, 0.02, **other))


PARALLEL = [(1, 1, 1), (2, 2, 1), (2, 3, 2)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_exit_times_are_those_of_the_scheduler(data):
    full = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    costs = [[1000.0 * data.draw(st.integers(3, 30)) for _ in range(n)] for n in full]
    exits = [tuple(full)]
    for _ in range(data.draw(st.integers(0, 3))):
        shallower = tuple(data.draw(st.integers(0, depth)) for depth in exits[0])
        if any(shallower) and shallower != exits[0]:
            exits.insert(0, shallower)
    workers = data.draw(st.integers(1, 3))
    bag = engine_bag(costs, tuple(exits))
    # decides whether the engine works ahead; in simulated time runs are not slowed
    bag = dataclasses.replace(bag, slowdown=data.draw(st.sampled_from([(), (1.0, 1.9, 2.7)])))
    of = controller(bag, [0.0] * len(exits))
    arrivals_us = []
    arrived = of.arrived
    of.arrived = lambda ticket, votes, now_us, rows=None: (
        arrivals_us.append(now_us) or arrived(ticket, votes, now_us, rows)
    )
    simulation = Simulation(of, workers, lambda ticket: votes_of(bag, ticket.rows, 1))
    orders = simulation.scheduler.orders
    orders.leaving[False] = [data.draw(st.sampled_from([0.0, 0.5, 1.0])) for _ in exits]
    order = orders.plan(np.ones(len(exits), dtype=bool)).best(orders.leaving[False], workers)
    simulation.run([(0.0, Request("a", 1))])
    assert arrivals_us == exit_times(costs, exits, workers, order.targets, (), order.works_ahead)


def test_runs_beside_each_other_take_longer():
    assert exit_times([[10.0], [10.0]], [(1, 1)], workers=2, slowdown=(1.0, 1.5)) == [15.0]


def test_the_rest_of_a_run_that_is_left_alone_goes_on_at_full_pace():
    times = exit_times([[10.0], [30.0]], [(1, 0), (1, 1)], workers=2, slowdown=(1.0, 1.5))
    assert times == [15.0, 35.0]  # 10 of the longer one's 30 are done after 15


def test_a_slowdown_that_leaves_nothing_of_a_second_worker_is_one_worker():
    both = exit_times([[10.0], [10.0], [10.0]], [(1, 1, 1)], workers=3, slowdown=(1.0, 2.0, 3.0))
    assert both == exit_times([[10.0], [10.0], [10.0]], [(1, 1, 1)], workers=1)


def test_without_working_ahead_an_exit_is_reached_as_if_nothing_came_after():
    alone = exit_times([[10.0], [30.0]], [(1, 0), (1, 1)], workers=2, slowdown=(1.0, 1.5), works_ahead=False)
    assert alone == [10.0, 40.0]


@pytest.mark.parametrize(("leaving", "ahead"), [(0.9, False), (0.1, True)])
def test_an_engine_whose_workers_slow_each_other_works_ahead_only_where_that_pays(leaving, ahead):
    bag = dataclasses.replace(engine_bag([[10.0], [10.0]], ((1, 0), (1, 1))), slowdown=(1.0, 1.6))
    plan = RunPlan(bag, RunCosts(bag), np.ones(2, dtype=bool), 2)
    assert plan.best([leaving, 1.0], 2).works_ahead is ahead


def test_workers_that_do_not_slow_each_other_always_work_ahead():
    bag = engine_bag([[10.0], [10.0]], ((1, 0), (1, 1)))
    assert RunPlan(bag, RunCosts(bag), np.ones(2, dtype=bool), 2).best([0.9, 1.0], 2).works_ahead


def test_a_ticket_of_many_rows_works_ahead():
    bag = dataclasses.replace(engine_bag([[10.0], [10.0]], ((1, 0), (1, 1))), slowdown=(1.0, 1.6))
    plan = RunPlan(bag, RunCosts(bag), np.ones(2, dtype=bool), 2)
    assert plan.best([0.9, 1.0], 2, many_rows=True).works_ahead


def test_exits_wait_for_the_slowest_of_their_members():
    assert exit_times(SEGMENTS_US, PARALLEL, workers=3) == [40.0, 60.0, 90.0]
    assert exit_times(SEGMENTS_US, PARALLEL, workers=1)[-1] == sum(map(sum, SEGMENTS_US))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.lists(st.floats(0.1, 3.0), min_size=4, max_size=4))
def test_fitted_weights_are_never_worse_than_equal_ones(seed, members, bag):
    rng = np.random.default_rng(seed)
    by_member = [rng.dirichlet(np.full(4, 0.3), 60).astype(np.float32) for _ in range(members)]
    full = rng.integers(0, 4, 60)
    weights = fitted_weights(by_member, bag[:members], full)
    assert all(weight > 0 for weight in weights)

    def agreement(by):
        return (votes.vote(by_member, list(by)).argmax(axis=1) == full).mean()

    assert agreement(weights) >= agreement([1.0] * members)


def test_a_member_that_says_nothing_gets_little_weight():
    rng = np.random.default_rng(0)
    full = rng.integers(0, 4, 500)
    good = np.full((500, 4), 0.05, dtype=np.float32)
    good[np.arange(500), full] = 0.85
    noise = rng.dirichlet(np.full(4, 0.1), 500).astype(np.float32)
    weights = fitted_weights([good, noise], [1.0, 1.0], full)
    assert weights[0] > 5 * weights[1]


def test_risk_never_grows_with_confidence():
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0, 1, 300)
    curve = RiskCurve.fit(confidence, rng.uniform(0, 1, 300) > confidence)
    risk = curve.of(np.sort(rng.uniform(-0.1, 1.1, 300)))
    assert (np.diff(risk) <= 0).all() and risk.min() > 0 and risk.max() < 1


def test_rows_are_not_judged_by_a_risk_that_was_fitted_on_them():
    rng = np.random.default_rng(2)
    noise = {(member, 1): rng.dirichlet(np.full(4, 0.2), 400).astype(np.float32) for member in range(2)}
    inputs = ScheduleInputs([[10.0], [10.0]], noise, [1.0, 1.0], "soft", 1, 0.01, exit_us=0.0)
    evaluator = ScheduleEvaluator(inputs)
    risk, wrong = evaluator.judge_state((1, 0))
    assert abs(risk.mean() - wrong.mean()) < 0.1  # two members of pure noise: nothing can be learnt of which rows agree


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_auto_is_at_least_as_fast_as_parallel_and_cascade(workers):
    latency = {kind: choose(kind, bag_of(workers), PARALLEL).latency_us for kind in ("parallel", "cascade", "auto")}
    assert latency["auto"] <= min(latency["parallel"], latency["cascade"])


@pytest.mark.parametrize("kind", ["cascade", "auto"])
def test_a_schedule_only_goes_deeper_and_ends_with_the_full_ensemble(kind):
    schedule = choose(kind, bag_of(2), PARALLEL)
    assert schedule.exits[-1] == (2, 3, 2)
    for before, after in zip(schedule.exits, schedule.exits[1:], strict=False):
        assert all(a <= b for a, b in zip(before, after, strict=True)) and before != after


def test_a_cascade_finishes_a_member_before_it_votes_with_the_next():
    schedule = choose("cascade", bag_of(1), PARALLEL)
    full = schedule.exits[-1]
    for depths in schedule.exits:
        assert sum(0 < depth < whole for depth, whole in zip(depths, full, strict=True)) <= 1


def test_a_cascade_starts_with_the_cheap_member_where_that_is_useful():
    first = choose("cascade", bag_of(1, skills=(1.0, 1.0, 1.0)), PARALLEL).exits[0]
    assert first[0] > 0 and first[1:] == (0, 0)


def test_the_loss_on_the_calibration_rows_stays_within_the_promise():
    for seed in range(5):
        for kind in ("parallel", "cascade", "auto"):
            assert choose(kind, bag_of(2, seed=seed), PARALLEL).loss <= 0.02


def test_no_more_exits_are_offered_than_wished():
    assert len(choose("auto", bag_of(1, most_exits=3), PARALLEL).exits) <= 4


def test_exits_that_cost_more_than_they_save_are_left_out():
    dear = bag_of(1, exit_us=500.0, most_exits=0).prune([(2, 0, 0), (2, 3, 0), (2, 3, 2)])
    assert dear.exits == ((2, 3, 2),)


def test_weights_are_the_bags_at_the_last_exit_only():
    evaluator = bag_of(1)
    exits = choose("auto", evaluator, PARALLEL).exits
    assert evaluator.weights(exits[-1]) is None
    for depths in exits[:-1]:
        assert [w > 0 for w in evaluator.weights(depths)] == [d > 0 for d in depths]


def test_a_promise_of_no_loss_leaves_nobody_out_of_the_full_vote():
    strict = ScheduleEvaluator(dataclasses.replace(bag_of(1).inputs, max_loss=0.0))
    schedule = choose("parallel", strict, PARALLEL)
    assert schedule.loss == 0.0


UNCUT_US = [[8.0], [8.0], [8.0], [8.0]]


@pytest.mark.parametrize("kind", ["cascade", "auto"])
@pytest.mark.parametrize("workers", [1, 2])
def test_members_that_cannot_be_cut_have_an_exit_after_each(kind, workers):
    evaluator = bag_of(workers, (1.0, 1.0, 1.0, 1.0), segments_us=UNCUT_US, most_exits=0)
    exits = choose(kind, evaluator, [(1, 1, 1, 1)]).exits
    assert [sum(depths) for depths in exits] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["cascade", "auto"])
@pytest.mark.parametrize("exit_us", [0.0, 500.0])
def test_every_finished_member_has_an_exit_whatever_it_saves(kind, exit_us):
    exits = choose(kind, bag_of(1, exit_us=exit_us, most_exits=1), PARALLEL).exits
    finished = [sum(d == whole for d, whole in zip(depths, (2, 3, 2), strict=True)) for depths in exits]
    assert set(finished) >= {1, 2, 3}


def test_the_member_that_lets_most_leave_goes_first_though_another_is_cheaper():
    segments_us = [[9.0], [10.0], [10.0]]
    first = choose("cascade", bag_of(1, (0.1, 3.0, 3.0), segments_us=segments_us), [(1, 1, 1)]).exits[0]
    assert first[0] == 0


def test_a_large_bag_is_ordered_by_what_it_lets_leave_too():
    segments_us = [[9.0]] + [[10.0]] * 6
    evaluator = bag_of(1, (0.05, *[2.0] * 6), segments_us=segments_us, rows=200)
    schedule = choose("cascade", evaluator, [(1,) * 7])
    assert len(schedule.exits) == 7 and schedule.exits[0][0] == 0
    by_cost = [tuple(int(member < count) for member in range(7)) for count in range(1, 8)]
    assert schedule.latency_us < evaluator.with_all_targets(by_cost).latency_us


def test_members_that_run_side_by_side_have_an_exit_when_one_has_finished():
    path = side_by_side([[10.0, 10.0], [30.0, 30.0]], [(2, 1), (2, 2)])
    assert path == [(2, 0), (2, 1), (2, 2)]
    assert after_finished_members(path, (2, 2)) == {(2, 0)}
