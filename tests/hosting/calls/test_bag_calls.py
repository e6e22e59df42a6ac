"""Calls of NAME_bag: whose votes are taken, and whose are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.hosting.calls.bag_calls import SECRET_BITS, BagCalls, RefusedTapError, draw_secret
from exeunt.hosting.calls.failure_address import read_address
from tests.deciding.controller_bag import CLASSES, FEATURES, learning_manifest, manifest, ticket_of

BAG = manifest(depths=((1, 0), (1, 1), (2, 2)), weights=(1.0, 1.0))
LEARNS = learning_manifest(depths=((1, 0), (2, 2)))
ROWS = 3
SEVEN = ticket_of(BAG, ROWS, id_=7)


def pairs_of(*exits):
    return {(member, depth) for exit_ in exits for member, depth in enumerate(BAG.exits[exit_].depths) if depth}


def votes(*pairs, rows=ROWS, classes=CLASSES, dtype=np.float32):
    return {pair: np.full((rows, classes), 1 / classes, dtype=dtype) for pair in pairs}


def ticket(secret, rows=ROWS):
    return np.full((rows, 1), secret, dtype=np.int64)


@pytest.fixture
def calls():
    return BagCalls(BAG)


def test_votes_that_a_call_asked_for_are_taken(calls):
    secret = calls.open(ROWS, pairs_of(0, 2), SEVEN)
    call, fresh = calls.take(ticket(secret), votes((0, 1)))
    assert call.ticket is SEVEN and set(fresh) == {(0, 1)}


def test_the_votes_are_copied_since_the_server_frees_its_memory(calls):
    secret = calls.open(ROWS, pairs_of(0), SEVEN)
    arrived = votes((0, 1))
    _, fresh = calls.take(ticket(secret), arrived)
    arrived[0, 1][:] = 0
    assert fresh[0, 1].any()


def test_a_call_of_some_rows_names_them(calls):
    secret = calls.open(2, pairs_of(0), SEVEN, ticket_rows=np.array([1, 3]))
    call, _ = calls.take(ticket(secret, rows=2), votes((0, 1), rows=2))
    assert call.ticket_rows.tolist() == [1, 3]


def test_a_second_vote_for_the_same_member_and_depth_is_never_taken(calls):
    secret = calls.open(ROWS, pairs_of(0, 1, 2), SEVEN)
    calls.take(ticket(secret), votes((0, 1)))
    _, fresh = calls.take(ticket(secret), votes((0, 1), (1, 1)))
    assert set(fresh) == {(1, 1)}


def test_a_vote_that_the_call_did_not_ask_for_is_not_taken(calls):
    secret = calls.open(ROWS, pairs_of(0), SEVEN)
    _, fresh = calls.take(ticket(secret), votes((0, 2), (1, 2)))
    assert not fresh


def test_a_secret_is_void_after_its_call(calls):
    secret = calls.open(ROWS, pairs_of(2), SEVEN)
    calls.close(secret)
    with pytest.raises(RefusedTapError, match="under way"):
        calls.take(ticket(secret), votes((0, 2), (1, 2)))
    assert calls.refused == 1


@pytest.mark.parametrize(
    ("tensor", "arrays"),
    [
        (lambda secret: ticket(secret + 1), votes((0, 1))),
        (lambda secret: ticket(secret, rows=2), votes((0, 1), rows=2)),
        (lambda secret: ticket(secret).astype(np.int32), votes((0, 1))),
        (lambda secret: ticket(secret)[:, 0], votes((0, 1))),
        (lambda secret: ticket(secret)[:0], votes((0, 1), rows=0)),
        (lambda secret: np.array([[secret], [secret], [1]]), votes((0, 1))),
        (ticket, votes((0, 1), rows=4)),
        (ticket, votes((0, 1), classes=CLASSES + 1)),
        (ticket, votes((0, 1), dtype=np.float64)),
        (ticket, {}),
    ],
    ids=["guess", "rows", "dtype", "shape", "empty", "mixed", "vote rows", "classes", "vote dtype", "no votes"],
)
def test_what_does_not_fit_the_call_is_refused_and_counted(calls, tensor, arrays):
    secret = calls.open(ROWS, pairs_of(0, 2), SEVEN)
    with pytest.raises(RefusedTapError) as refusal:
        calls.take(tensor(secret), arrays)
    assert calls.refused == 1 and str(secret) not in str(refusal.value)


@pytest.mark.parametrize(
    "shape", [(ROWS, FEATURES + 1), (ROWS, CLASSES), (ROWS + 1, FEATURES), (FEATURES,), (ROWS, FEATURES, 1)]
)
def test_features_of_another_shape_are_refused_and_counted(shape):
    calls = BagCalls(LEARNS)
    secret = calls.open(ROWS, {(0, 1)}, ticket_of(LEARNS, ROWS))
    with pytest.raises(RefusedTapError, match=r"m0\.1\.features"):
        calls.take(ticket(secret), {(0, 1): np.zeros(shape, dtype=np.float32)})
    assert calls.refused == 1


def test_features_of_another_type_are_refused():
    calls = BagCalls(LEARNS)
    secret = calls.open(ROWS, {(0, 1)}, ticket_of(LEARNS, ROWS))
    with pytest.raises(RefusedTapError, match=r"m0\.1\.features"):
        calls.take(ticket(secret), {(0, 1): np.zeros((ROWS, FEATURES))})


def test_features_that_are_not_finite_are_taken_since_a_member_may_put_them_out():
    calls = BagCalls(LEARNS)
    secret = calls.open(ROWS, {(0, 1)}, ticket_of(LEARNS, ROWS))
    _, fresh = calls.take(ticket(secret), {(0, 1): np.full((ROWS, FEATURES), np.nan, dtype=np.float32)})
    assert set(fresh) == {(0, 1)}


def test_a_call_can_collect_its_votes(calls):
    secret = calls.open(ROWS, pairs_of(2))
    calls.take(ticket(secret), votes((0, 2), (1, 2)))
    assert set(calls.close(secret).brought) == {(0, 2), (1, 2)}


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40))
def test_no_two_calls_under_way_share_a_secret(drawn):
    source = iter([*drawn, *range(100, 200)])
    calls = BagCalls(BAG, draw=lambda: next(source))
    opened = [calls.open(1, pairs_of(2)) for number in range(len(drawn))]
    assert len(set(opened)) == len(opened)


def test_a_secret_fits_tritons_int64_and_is_not_small():
    drawn = [draw_secret() for _ in range(64)]
    assert all(0 <= secret < 2**SECRET_BITS for secret in drawn) and max(drawn) > 2**48
    assert len(set(drawn)) == 64


def word_of(calls, secret):
    return np.array([[read_address(calls.address(secret))[1]]], dtype=np.int64)


def test_after_a_segments_report_what_depends_on_it_is_not_taken(calls):
    secret = calls.open(ROWS, pairs_of(0, 2), SEVEN)
    calls.report(word_of(calls, secret), "no such index", BAG.members[0].segments[1].model)
    _, fresh = calls.take(ticket(secret), votes((0, 1), (0, 2), (1, 2)))
    assert set(fresh) == {(0, 1), (1, 2)}


def test_after_a_report_of_another_model_nothing_is_taken(calls):
    secret = calls.open(ROWS, pairs_of(0, 2), SEVEN)
    calls.report(word_of(calls, secret), "no such index", "tiny_heads_e0")
    assert calls.take(ticket(secret), votes((0, 1), (1, 2)))[1] == {}


def test_the_first_report_says_what_went_wrong(calls):
    secret = calls.open(ROWS, pairs_of(2))
    for text in ("no such index", "zeros do not help"):
        calls.report(word_of(calls, secret), text, BAG.members[0].segments[0].model)
    assert calls.close(secret).failure == "no such index"


def test_a_late_report_of_a_call_that_was_given_up_is_no_strangers(calls):
    secret = calls.open(ROWS, pairs_of(2))
    word = word_of(calls, secret)
    calls.close(secret)
    calls.report(word, "late", BAG.members[0].segments[0].model)
    assert (calls.refused, calls.failed_steps) == (0, 1)


def test_a_call_that_was_given_up_meanwhile_has_no_address(calls):
    secret = calls.open(ROWS, pairs_of(2))
    calls.close(secret)
    assert calls.address(secret) is None


@pytest.mark.parametrize(
    "word",
    [
        np.zeros((1, 1), dtype=np.int64),
        np.zeros((0, 1), dtype=np.int64),
        np.zeros((2, 1), dtype=np.int64),
        np.zeros((1, 1), dtype=np.float32),
    ],
)
def test_strangers_cannot_report(calls, word):
    secret = calls.open(ROWS, pairs_of(2))
    with pytest.raises(RefusedTapError):
        calls.report(word, "forged", "tiny_a_s1")
    assert (calls.close(secret).failure, calls.refused) == (None, 1)


def test_the_secret_is_not_the_word_of_reports(calls):
    secret = calls.open(ROWS, pairs_of(2))
    assert word_of(calls, secret) != secret


def test_a_report_without_a_text_is_refused(calls):
    secret = calls.open(ROWS, pairs_of(2))
    with pytest.raises(RefusedTapError):
        calls.report(word_of(calls, secret), None, None)
