"""Tickets of two gears side by side: whatever happens, each goes its own way, and all are booked in one account."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.contract import Reason
from exeunt.deciding.controller import Controller
from exeunt.deciding.lean import LeanChoice
from exeunt.deciding.request import ParsedOptions, Request
from exeunt.engine.sampling import FinishProbability
from exeunt.records.feedback import Feedback
from exeunt.tuning.registry import make_tuner
from exeunt.tuning.tuner import Setup
from exeunt_export.schedule.lean_gear import merge_exits
from tests.deciding.controller_bag import CLASSES
from tests.engine.desk import Desk
from tests.engine.nets import WIDTH, written
from tests.engine.scenes import engine_bag
from tests.engine.simulate import Simulation

LEAST_Q = 0.25


class Turns(LeanChoice):
    """Either gear, ticket by ticket, by a seeded coin."""

    def __init__(self, seed):
        super().__init__()
        self._rng = np.random.default_rng(seed)

    def choose(self, unanswered):
        return bool(self._rng.random() < 0.5)


@st.composite
def chains(draw, full):
    """1 to 4 exits that only go deeper, the last the full ensemble."""
    exits = [full]
    for _ in range(draw(st.integers(0, 3))):
        shallower = tuple(draw(st.integers(0, depth)) for depth in exits[0])
        if any(shallower) and shallower != exits[0]:
            exits.insert(0, shallower)
    return tuple(exits)


@st.composite
def geared_bags(draw):
    """1 to 3 members of 1 to 4 segments, two lists of exits."""
    full = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    costs = [[float(draw(st.integers(1, 20))) for _ in range(n)] for n in full]
    exits, gears = merge_exits(costs, draw(chains(full)), draw(chains(full)))
    bag = engine_bag(costs, exits, gear="auto", shadow_share=draw(st.sampled_from([0.0, 0.3])), lossless=True)
    bag_settings = dataclasses.replace(bag.settings, max_unconfirmed_rows=draw(st.sampled_from([4, 16, 256])))
    return dataclasses.replace(
        bag, gears=gears, settings=bag_settings, slowdown=draw(st.sampled_from([(), (1.0, 1.8, 2.6)]))
    )


@st.composite
def streams(draw):
    """Requests of 1 to 8 rows with every wish: full votes, deadlines, risks."""
    at_us, arrivals = 0, []
    for key in range(draw(st.integers(1, 20))):
        at_us += draw(st.sampled_from([0, 1, 5, 60]))
        never = draw(st.integers(0, 7)) == 0
        deadline_us = draw(st.one_of(st.none(), st.none(), st.integers(1, 120)))
        options = ParsedOptions(
            never=never,
            deadline_us=deadline_us,
            hurries=deadline_us is not None,
            max_risk=draw(st.sampled_from([np.inf, 0.3])),
        )
        arrivals.append((at_us, Request(key, draw(st.integers(1, 8)), options)))
    return arrivals


def mostly_agreed(bag, rows, seed):
    """Probabilities of every member at every depth, which say the same of most rows."""
    rng = np.random.default_rng(seed)
    shared = 4.0 * rng.standard_normal((rows, CLASSES))
    probabilities = {}
    for member, item in enumerate(bag.members):
        for depth in range(1, item.depth + 1):
            shares = np.exp(shared + 1.5 * rng.standard_normal((rows, CLASSES)))
            probabilities[member, depth] = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


class Scene:
    """A bag with two gears under load, its budget kept by the tuner that has the promise."""

    def __init__(self, bag, arrivals, workers, seed, failing):
        rng = np.random.default_rng(seed)
        self.bag = bag
        shape = 1024, len(bag.exits)
        harmless = Feedback.observed(np.zeros(shape), rng.uniform(0.0, 1.0, shape))  # of rows on which all exits agree
        tuner = make_tuner(Setup(bag.costs(), bag.settings, harmless))
        self.of = Controller(bag, tuner, rng)
        self.of.admission.lean = Turns(seed)
        self.account = tuner.budget.classes[0]
        self.account.hand_over(2.0 * rng.integers(0, 2))  # some may leave on trust at once, some never
        self.decided = []
        self.of.decisions.on_over.append(lambda rows, _: self.decided.append(rows))
        self.lean = {}
        self.simulation = Simulation(
            self.of,
            workers,
            self._votes,
            FinishProbability(4, LEAST_Q, hold_us=50),
            fails=lambda run: failing and rng.random() < 0.05,
            like_the_engine=True,
        )
        self.simulation.run(arrivals)

    def _votes(self, ticket):
        self.lean[ticket.id] = ticket.lean
        return mostly_agreed(self.bag, ticket.rows, ticket.id)


SCENES = given(geared_bags(), streams(), st.integers(1, 3), st.integers(0, 99), st.booleans())


@settings(max_examples=60, deadline=None)
@SCENES
def test_no_row_is_lost_or_answered_twice_whatever_the_gears(bag, arrivals, workers, seed, failing):
    scene = Scene(bag, arrivals, workers, seed, failing)
    assert sorted(release.key for _, release in scene.simulation.releases) == list(range(len(arrivals)))
    scheduler = scene.simulation.scheduler
    assert scene.of.idle and not scheduler.tickets and scheduler.ready_pieces == 0
    assert scheduler.backlog == scheduler.unconfirmed == scheduler.open_tickets == 0


@settings(max_examples=60, deadline=None)
@SCENES
def test_every_row_is_decided_at_an_exit_of_its_own_gear_and_sees_no_other(bag, arrivals, workers, seed, failing):
    scene = Scene(bag, arrivals, workers, seed, failing)
    for decided in scene.decided:
        mine = bag.gear_masks[int(scene.lean[int(decided.ticket[0])])]
        assert mine[decided.rows.exit[decided.rows.exit >= 0]].all()
        assert mine[np.flatnonzero((decided.rows.order >= 0).any(axis=0))].all()


@settings(max_examples=60, deadline=None)
@SCENES
def test_the_account_is_what_the_answers_of_both_gears_earned_and_lost(bag, arrivals, workers, seed, failing):
    scene = Scene(bag, arrivals, workers, seed, failing)
    account, lost = scene.account, 0.0
    for decided in scene.decided:
        rows = decided.rows
        awaited = (rows.reason == Reason.EARLY) & (rows.exit >= 0) & decided.finishes
        differs = rows.labels[:, -1] != rows.answer  # also where the full vote never came
        lost += float((1.0 / rows.q[awaited & differs]).sum())
    assert account.unconfirmed == account.unconfirmed_rows == 0
    assert account.losses == pytest.approx(lost)
    assert account.allowed == pytest.approx(account.eps * account.answered_rows)
    assert not account.broken


@settings(max_examples=30, deadline=None)
@SCENES
def test_a_certain_label_is_the_full_votes_in_either_gear(bag, arrivals, workers, seed, failing):
    scene = Scene(bag, arrivals, workers, seed, failing)
    for decided in scene.decided:
        rows = decided.rows
        sure = (rows.reason == Reason.LOSSLESS) & (rows.labels[:, -1] >= 0)
        assert (rows.answer[sure] == rows.labels[sure, -1]).all()


@pytest.mark.parametrize("count", [1, 3])
def test_the_full_vote_is_bit_for_bit_the_same_in_both_gears(tmp_path, count):
    x = np.random.default_rng(5).standard_normal((count, WIDTH)).astype(np.float32)
    exits, gears = ((1, 0), (1, 1), (3, 0), (2, 1), (3, 2)), ((0, 1, 3, 4), (0, 2, 4))
    answers = []
    for gear in ("exits", "lean"):
        bag = dataclasses.replace(written(tmp_path, exits, gear=gear), gears=gears)
        with Desk(bag, tmp_path, [0.0] * 5) as desk:
            desk.ask("a", x)
            answers.append(desk.answers(1)["a"].answer)
            assert desk.controller.counters.lean_tickets == (gear == "lean")
    np.testing.assert_array_equal(answers[0].probabilities, answers[1].probabilities)
    assert answers[0].probabilities.shape == (count, CLASSES)
