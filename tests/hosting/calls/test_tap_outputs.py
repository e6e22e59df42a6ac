"""What the taps of a ticket have brought: handed over once, when all is there."""

import numpy as np
import pytest

from exeunt.bag_stages import BagStages
from exeunt.hosting.calls.stage_queue import TicketWork
from exeunt.hosting.calls.tap_outputs import TapOutputs
from tests.deciding.controller_bag import CLASSES, FEATURES, learning_manifest, ticket_of

BAG = learning_manifest(depths=((1, 0), (2, 0), (2, 2)))  # a stage ends at exit 1; the one ramp is (0, 1)
RAMPS = frozenset({(0, 1)})
ALL = np.arange(4)


@pytest.fixture
def deliveries():
    return []


@pytest.fixture
def outputs(deliveries):
    gathering = TapOutputs(BAG)
    gathering.learn_from(RAMPS, lambda ticket, brought: deliveries.append((ticket, dict(brought))))
    return gathering


@pytest.fixture
def work():
    ticket = ticket_of(BAG, len(ALL))
    return TicketWork(ticket, {}, BagStages(BAG).calls(ticket.requested_exits, True))


def brought(*pairs, rows=ALL):
    width = {(0, 1): FEATURES}
    return {
        pair: np.stack([np.full(width.get(pair, CLASSES), row, dtype=np.float32) for row in rows]) for pair in pairs
    }


def test_a_ticket_is_handed_over_when_every_member_has_finished(outputs, deliveries, work):
    outputs.add(work, brought((0, 1), (0, 2)), ALL)
    assert not deliveries
    outputs.add(work, brought((1, 2)), ALL)
    ((ticket, at_taps),) = deliveries
    assert ticket is work.ticket and set(at_taps) == {(0, 1), (0, 2), (1, 2)}


def test_rows_that_did_not_run_in_a_later_stage_are_no_numbers(outputs, deliveries, work):
    outputs.add(work, brought((0, 1), (0, 2)), ALL)
    outputs.add(work, brought((1, 2), rows=(1, 3)), np.array([1, 3]))
    ((_, at_taps),) = deliveries
    assert at_taps[0, 1][:, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(at_taps[1, 2][:, 0], [np.nan, 1, np.nan, 3])


def test_a_stage_that_is_run_again_for_fewer_rows_takes_back_nothing(outputs, deliveries, work):
    outputs.add(work, brought((0, 1), (0, 2)), ALL)
    outputs.add(work, brought((0, 1), (0, 2), (1, 2), rows=(2,)), np.array([2]))
    ((_, at_taps),) = deliveries
    assert at_taps[0, 1][:, 0].tolist() == [0, 1, 2, 3]


def test_where_nobody_learns_nothing_is_kept(work):
    TapOutputs(BAG).add(work, brought((0, 1), (0, 2), (1, 2)), ALL)
    assert not work.tap_outputs
