"""Cut tensors between two calls: of the right rows, and refused where a call brought something else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.bag_stages import BagStages
from exeunt.contract import Reason
from exeunt.hosting.calls.bag_calls import BagCall
from exeunt.hosting.calls.call_inputs import CallInputs, places_that_run
from exeunt.hosting.calls.cut_rows import CutRows
from exeunt.hosting.calls.stage_queue import StageQueue, TicketWork
from tests.deciding.controller_bag import ticket_of
from tests.test_crossing import ALONE, chained

BAG = chained(ALONE, (0, 1))
STAGES = BagStages(BAG)
INPUTS = CallInputs(STAGES)
WANTED = np.ones(4, dtype=bool)
NAME = "m0.CUT1_0"


def work_of(rows, number=1):
    x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    return TicketWork(ticket_of(BAG, rows, number), {"x": x}, STAGES.calls(WANTED, staged=True))


def brought(rows, cut_rows=None, value=None):
    """What the first call brings of some rows: each row's number, three times."""
    cut_rows = np.arange(rows) if cut_rows is None else np.array(cut_rows)
    cut = np.repeat(cut_rows[:, None], 3, axis=1).astype(np.float32) if value is None else value
    return BagCall(rows, set(), cut_rows=cut_rows, cuts={NAME: cut})


def test_the_first_call_takes_the_bags_inputs():
    work = work_of(4)
    assert list(INPUTS.of(work, np.arange(4), work.calls[0])) == ["x"]
    assert INPUTS.cut_names(work.calls[0]) == [NAME]


@given(st.data())
def test_the_next_call_takes_the_cut_tensors_of_the_rows_that_are_left(data):
    rows = data.draw(st.integers(1, 12))
    some = st.lists(st.integers(0, rows - 1), min_size=1, unique=True).map(sorted)
    ran = np.array(data.draw(some))
    cut_rows = sorted(data.draw(st.lists(st.sampled_from(range(len(ran))), min_size=1, unique=True)))
    later_rows = sorted(data.draw(st.lists(st.sampled_from(list(ran[cut_rows])), min_size=1, unique=True)))
    work = work_of(rows)
    call = brought(len(ran), cut_rows, np.repeat(ran[cut_rows][:, None], 3, axis=1).astype(np.float32))
    assert INPUTS.keep(work, ran, work.calls[0], call) is None
    inputs = INPUTS.of(work, np.array(later_rows), work.calls[1])
    assert list(inputs) == [NAME] and inputs[NAME][:, 0].tolist() == later_rows


def test_tickets_that_share_a_call_are_joined_in_their_order():
    works = [work_of(3, number) for number in (1, 2)]
    for work in works:
        INPUTS.keep(work, np.arange(3), work.calls[0], brought(3))
    joined = INPUTS.joined([(works[0], np.array([1])), (works[1], np.array([0, 2]))], works[0].calls[1])
    assert joined[NAME][:, 0].tolist() == [1.0, 0.0, 2.0]


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((2, 3), np.float32),
        np.zeros((3, 4), np.float32),
        np.zeros((3, 3), np.float64),
        np.zeros(3, np.float32),
    ],
)
def test_a_cut_tensor_of_another_form_is_refused(value):
    work = work_of(3)
    assert NAME in INPUTS.keep(work, np.arange(3), work.calls[0], brought(3, value=value))
    assert work.cuts is None


def test_a_call_that_brought_no_cut_tensor_is_told():
    work = work_of(3)
    call = BagCall(3, set())
    assert "no cut tensors" in INPUTS.keep(work, np.arange(3), work.calls[0], call)


def test_after_the_last_stage_nothing_is_kept():
    work = work_of(3)
    work.cuts = CutRows(np.arange(3), {})
    assert INPUTS.keep(work, np.arange(3), work.calls[-1], BagCall(3, set())) is None
    assert work.cuts is None


def test_rows_that_have_left_for_good_are_not_kept():
    ticket = ticket_of(BAG, 4, 1)
    ticket.freeze(np.array([1]), 0, Reason.EARLY, 0.0, 0)
    ticket.finishes[1] = False
    assert places_that_run(ticket, None).tolist() == [0, 2, 3]
    assert places_that_run(ticket, np.array([1, 3])).tolist() == [1]


def test_feedback_with_and_without_cut_tensors_shares_no_call():
    queue = StageQueue(8, urgent_backlog=100.0)
    works = [work_of(1, number) for number in (1, 2, 3)]
    for work in works:
        queue.add(work)
        call = queue.next()
        INPUTS.keep(work, np.arange(1), call.planned, brought(1))
        work.ticket.freeze(np.array([0]), 0, Reason.EARLY, 0.0, 0)
        queue.ended(call)
        queue.add(work)
    works[1].calls = STAGES.calls(WANTED, staged=False)
    assert [work.ticket.id for work in queue.next().works] == [1, 3]
    assert works[0].calls == []
