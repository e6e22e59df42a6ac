"""Which members the vote hardly needs, judged by what the others say without them."""

import numpy as np
import pytest

from exeunt_export.report.member_choice import member_choice
from tests.deciding.controller_bag import CLASSES, manifest

ROWS = 300
BAG = manifest(depths=((1, 1, 1), (2, 2, 2)), weights=(1.0, 1.0, 1.0))
FIT, JUDGED = np.arange(100), np.arange(100, ROWS)


def said(labels, sure=0.8):
    """Probabilities float32 [rows, CLASSES] of members that are as sure of every label."""
    rows = np.full((len(labels), CLASSES), (1 - sure) / (CLASSES - 1), dtype=np.float32)
    rows[np.arange(len(labels)), labels] = sure
    return rows


def sample_votes(*by_member):
    return {(member.name, member.depth): votes for member, votes in zip(BAG.members, by_member, strict=True)}


@pytest.fixture
def choice():
    """Members 0 and 1 say the same; member 2 says something else half of the time, and is outvoted."""
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=ROWS)
    other = np.where(rng.random(ROWS) < 0.5, labels, (labels + 1) % CLASSES)
    return member_choice(BAG, sample_votes(said(labels), said(labels), said(other)), FIT, JUDGED)


def test_a_member_that_is_always_outvoted_changes_nothing(choice):
    assert choice.without[2].same_vote == 1.0


def test_a_member_that_decides_does(choice):
    assert choice.without[0].same_vote < 1.0


def test_other_weights_can_make_up_for_a_member(choice):
    assert choice.without[0].same_vote_reweighted == 1.0


def test_each_saves_its_share_of_the_work(choice):
    assert [one.work_saved for one in choice.without] == pytest.approx([1 / 3] * 3)


def test_the_order_begins_with_a_member_that_says_what_all_say_and_ends_in_the_full_vote(choice):
    assert choice.order[0] in ("m0", "m1")
    assert choice.agreement[0] == choice.agreement[-1] == 1.0


def test_a_bag_of_one_has_nothing_to_leave_out():
    bag = manifest(depths=((1,), (2,)), weights=(1.0,))
    alone = {("m0", bag.members[0].depth): said(np.zeros(ROWS, dtype=int))}
    choice = member_choice(bag, alone, FIT, JUDGED)
    assert choice.without == () and choice.lines() == []
