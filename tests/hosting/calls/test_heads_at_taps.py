"""The ramps' heads at the taps of ensemble mode: the votes that they make, by which heads, and in which order."""

import dataclasses
import threading

import numpy as np
import onnxruntime
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from exeunt.bag_stages import tap_tensors
from exeunt.contract import Reason, features_name, votes_name
from exeunt.deciding.heads import Head, Heads
from exeunt.deciding.request import ParsedOptions, Request
from exeunt.deciding.votes import vote
from exeunt.errors import ConfigError
from exeunt.hosting.calls.bag_calls import BagCall
from exeunt.hosting.calls.heads_at_taps import HeadsAtTaps
from exeunt.hosting.guard import Guard
from exeunt.learning.files import HEADS_FILE, load_exported
from tests.deciding.controller_bag import (
    CLASSES,
    FEATURES,
    at_exit,
    controller,
    learning_manifest,
    ticket_of,
    votes_of,
    with_settings,
)
from tests.hosting.learning_server import exported
from tests.triton.calls import manifest_of

BAG = learning_manifest(depths=((1, 0), (2, 1), (2, 2)))  # ramps: (0, 1) at exit 0, (1, 1) at exit 1
ROWS = 3


def head(seed):
    rng = np.random.default_rng(seed)
    return Head(rng.normal(size=(FEATURES, CLASSES)).astype(np.float32), rng.normal(size=CLASSES).astype(np.float32))


EXPORTED = {(0, 1): head(1), (1, 1): head(2)}


def features(seed=0, rows=ROWS):
    return np.random.default_rng(seed).normal(size=(rows, FEATURES)).astype(np.float32)


def final(rows=ROWS):
    return np.full((rows, CLASSES), 1 / CLASSES, dtype=np.float32)


class Controller:
    """Notes what arrives, and in which thread."""

    def __init__(self):
        self.arrivals = []

    def arrived(self, ticket_id, votes, rows):
        self.arrivals.append((ticket_id, set(votes), rows, threading.current_thread().name))


@pytest.fixture
def faults():
    return []


@pytest.fixture
def heads(faults):
    heads_at_taps = HeadsAtTaps(BAG, EXPORTED, Guard(faults.append))
    yield heads_at_taps
    heads_at_taps.close()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    version = exported(tmp_path_factory.mktemp("heads") / "bag", mode="ensemble")
    return version.parent.parent


def test_heads_at_taps_say_what_the_exported_heads_say(repository):
    manifest = manifest_of(repository)
    version = repository / "tiny_exit" / "1"
    heads = HeadsAtTaps.load(manifest, version, Guard())
    ticket = ticket_of(manifest, ROWS)
    for number, exit_ in enumerate(manifest.exits[:-1]):
        session = onnxruntime.InferenceSession(version / f"{exit_.heads}.onnx")
        brought, feed = {}, {}
        for member, depth in manifest.ramps(number):
            (width,) = tap_tensors(manifest)[member, depth].dims
            brought[member, depth] = np.random.default_rng(width).normal(size=(ROWS, width)).astype(np.float32)
            feed[features_name(manifest.members[member].name, depth)] = brought[member, depth]
        names = [votes_name(manifest.members[member].name, depth) for member, depth in brought]
        graph = dict(zip(brought, session.run(names, feed), strict=True))
        for pair, votes in heads.votes(ticket, brought).items():
            np.testing.assert_allclose(votes, graph[pair], rtol=1e-4, atol=1e-6)


def test_each_ticket_has_the_heads_that_it_was_admitted_with(heads):
    other = head(9)
    old, new = ticket_of(BAG, ROWS), ticket_of(BAG, ROWS, heads=Heads(1, {(0, 1): other}))
    brought = {(0, 1): features(), (1, 1): features(1)}
    for ticket, used in ((new, other), (old, EXPORTED[0, 1])):
        votes = heads.votes(ticket, brought)
        np.testing.assert_array_equal(votes[0, 1], used.probabilities(features()))
        np.testing.assert_array_equal(votes[1, 1], EXPORTED[1, 1].probabilities(features(1)))


def test_features_at_exits_that_a_ticket_does_not_ask_for_make_no_votes(heads):
    ticket = ticket_of(BAG, ROWS, requested_exits=np.array([False, True, True]))
    brought = {(0, 1): features(), (1, 1): features(), (0, 2): final()}
    assert set(heads.votes(ticket, brought)) == {(1, 1), (0, 2)}


def test_the_full_vote_has_no_features(heads):
    brought = {(0, 1): features(), (0, 2): final(), (1, 2): final()}
    assert set(heads.full_vote(brought)) == {(0, 2), (1, 2)}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_features_that_are_not_finite_spoil_their_own_row_only(heads, bad):
    odd = features()
    odd[1] = bad
    votes = heads.votes(ticket_of(BAG, ROWS), {(0, 1): odd})[0, 1]
    assert np.isfinite(votes).all(axis=1).tolist() == [True, False, True]


def test_votes_of_features_come_from_a_thread_of_the_pool(heads):
    controller, call = Controller(), BagCall(ROWS, set(), ticket_of(BAG, ROWS), np.array([0, 2, 3]))
    heads.pass_on(call, {(0, 1): features()}, controller.arrived)
    call.passing[0].result(10)
    ((ticket_id, pairs, rows, thread),) = controller.arrivals
    assert (ticket_id, pairs, rows.tolist()) == (1, {(0, 1)}, [0, 2, 3])
    assert thread.startswith("exeunt-heads")


def test_finished_members_votes_are_handed_on_at_once(heads):
    controller, call = (
        Controller(),
        BagCall(ROWS, set(), ticket_of(BAG, ROWS, requested_exits=np.array([False, False, True]))),
    )
    heads.pass_on(call, {(0, 1): features(), (0, 2): final(), (1, 2): final()}, controller.arrived)
    ((_, pairs, _, thread),) = controller.arrivals
    assert pairs == {(0, 2), (1, 2)} and thread == threading.current_thread().name


def test_what_a_later_tap_brings_comes_after_what_an_earlier_one_brought(heads):
    controller, call = Controller(), BagCall(ROWS, set(), ticket_of(BAG, ROWS))
    begun, go_on = threading.Event(), threading.Event()

    def slow(*arrived):
        begun.set()
        assert go_on.wait(10)
        controller.arrived(*arrived)

    heads.pass_on(call, {(0, 1): features()}, slow)
    assert begun.wait(10)
    heads.pass_on(call, {(0, 2): final()}, controller.arrived)
    go_on.set()
    for passing in call.passing:
        passing.result(10)
    assert [pairs for _, pairs, _, _ in controller.arrivals] == [{(0, 1)}, {(0, 2)}]


def test_nothing_is_made_of_features_of_a_ticket_that_is_over(heads):
    controller, ticket = Controller(), ticket_of(BAG, ROWS)
    ticket.over = True
    call = BagCall(ROWS, set(), ticket)
    heads.pass_on(call, {(0, 1): features()}, controller.arrived)
    call.passing[0].result(10)
    assert not controller.arrivals


def test_where_a_head_fails_the_finished_members_votes_are_handed_on_and_it_is_said(faults):
    narrow = Head(np.zeros((FEATURES - 1, CLASSES), dtype=np.float32), np.zeros(CLASSES, dtype=np.float32))
    heads = HeadsAtTaps(BAG, EXPORTED | {(0, 1): narrow}, Guard(faults.append))
    controller, call = Controller(), BagCall(ROWS, set(), ticket_of(BAG, ROWS))
    heads.pass_on(call, {(0, 1): features(), (1, 2): final()}, controller.arrived)
    heads.close()
    assert [pairs for _, pairs, _, _ in controller.arrivals] == [{(1, 2)}]
    assert any("heads failed" in line for line in faults)


def test_a_members_own_exit_is_passed_on_as_it_is():
    bag = learning_manifest(depths=((1, 0), (2, 1), (2, 2)), features=CLASSES)
    heads = HeadsAtTaps(bag, {(1, 1): Head(np.eye(CLASSES, dtype=np.float32), np.zeros(CLASSES, np.float32))}, Guard())
    probabilities = final()
    assert heads.votes(ticket_of(bag, ROWS), {(0, 1): probabilities})[0, 1] is probabilities


def test_a_head_that_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"no head for m1\.1\.features"):
        HeadsAtTaps(BAG, {(0, 1): EXPORTED[0, 1]}, Guard())


def test_heads_of_other_widths_are_refused_when_the_server_starts(repository, tmp_path):
    manifest = manifest_of(repository)
    pair = next(iter(load_exported(repository / "tiny_exit" / "1", manifest)))
    members = list(manifest.members)
    segments = list(members[pair[0]].segments)
    wide = dataclasses.replace(segments[pair[1] - 1].features, dims=(7,))
    segments[pair[1] - 1] = dataclasses.replace(segments[pair[1] - 1], features=wide)
    members[pair[0]] = dataclasses.replace(members[pair[0]], segments=tuple(segments))
    other = dataclasses.replace(manifest, members=tuple(members))
    with pytest.raises(ConfigError, match=HEADS_FILE):
        HeadsAtTaps.load(other, repository / "tiny_exit" / "1", Guard())


@given(
    seed=st.integers(0, 2**32 - 1),
    bad=st.sampled_from([0.0, np.nan, np.inf, -np.inf, 3e38]),
    scale=st.sampled_from([0.0, 1.0, 1e3, 1e38]),
)
def test_neither_features_nor_heads_touch_the_full_vote_or_the_lossless_stop(seed, bad, scale):
    weights = (2.0, 1.0)  # so that the first member's vote can leave no doubt
    bag = with_settings(learning_manifest(((1, 0), (2, 1), (2, 2)), weights=weights), lossless=True)
    rng = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        lying = {pair: Head(head.weight * np.float32(-scale), head.bias) for pair, head in EXPORTED.items()}
    heads = HeadsAtTaps(bag, EXPORTED, Guard())
    of = controller(bag, [0.0, 0.0, 0.0])  # nobody leaves on trust
    of.decisions.in_use.start(Heads(1, lying))
    of.offer(Request("a", ROWS, ParsedOptions()), 0)
    ticket = of.next_ticket()
    votes = votes_of(bag, ROWS, seed)
    for pair in EXPORTED:
        votes[pair] = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
        votes[pair][rng.random(ROWS) < 0.3] = bad
    answers = []
    for exit_ in range(len(bag.exits)):
        brought = heads.votes(ticket, at_exit(bag, exit_, votes))
        answers += [release.answer for release in of.arrived(ticket.id, brought, 1000)]
    full = vote([votes[member, item.depth] for member, item in enumerate(bag.members)], weights)
    (answer,) = answers
    event(f"{(answer.reason == Reason.LOSSLESS).any()} that a row left by the lossless stop")
    np.testing.assert_array_equal(answer.label, full.argmax(axis=1))
