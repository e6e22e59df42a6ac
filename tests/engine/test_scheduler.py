"""The scheduler's rules, against simulated time: the real controller, workers that only wait."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.contract import Reason
from exeunt.deciding.controller import Controller
from exeunt.deciding.request import ParsedOptions, Request
from exeunt.engine.progress import Kind
from exeunt.engine.sampling import FinishProbability
from exeunt.engine.scheduler import SPARE_SHARE, Scheduler
from tests.deciding.controller_bag import FixedThresholds, admit, controller, manifest, thresholds_of, votes_of
from tests.engine.simulate import Simulation

LEAST_Q = 0.25


def engine_bag(costs, exits, shrink=0.9, **kept):
    """A bag in engine mode: `costs[m][d]` is the time of one row, `shrink` what a batch saves."""
    bag = manifest(depths=exits, weights=(1.0,) * len(costs), **({"gear": "exits"} | kept))
    members = tuple(
        dataclasses.replace(
            member,
            segments=tuple(
                dataclasses.replace(segment, cost_us={1: us, 8: 8 * us * shrink})
                for segment, us in zip(member.segments, segments, strict=True)
            ),
        )
        for member, segments in zip(bag.members, costs, strict=True)
    )
    return dataclasses.replace(bag, mode="engine", members=members)


@st.composite
def bags(draw, **kept):
    """1 to 3 members of 1 to 4 segments, 1 to 4 exits that only go deeper."""
    full = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    costs = [draw(st.lists(st.integers(1, 20), min_size=n, max_size=n)) for n in full]
    exits = [tuple(full)]
    for _ in range(draw(st.integers(0, 3))):
        shallower = tuple(draw(st.integers(0, depth)) for depth in exits[0])
        if any(shallower) and shallower != exits[0]:
            exits.insert(0, shallower)
    bag = engine_bag(costs, tuple(exits), draw(st.sampled_from([0.3, 0.9, 1.0])), **kept)
    return dataclasses.replace(bag, slowdown=draw(st.sampled_from([(), (1.0, 1.8, 2.6)])))


@st.composite
def streams(draw):
    """Requests of 1 to 8 rows, some of which want the full vote, some hopeless after a while."""
    at_us = 0
    arrivals = []
    for key in range(draw(st.integers(1, 14))):
        at_us += draw(st.integers(0, 60))
        arrivals.append(
            (at_us, Request(key, draw(st.integers(1, 8)), ParsedOptions(never=draw(st.integers(0, 9)) == 0)))
        )
    return arrivals


@st.composite
def scenes(draw, **kept):
    """A bag under load: (bag, arrivals, workers, thresholds, seed)."""
    bag = draw(bags(**kept))
    thresholds = [draw(st.sampled_from([0.0, 0.1, 0.4, 2.0])) for _ in bag.exits]
    return bag, draw(streams()), draw(st.integers(1, 3)), thresholds, draw(st.integers(0, 99))


def staged(scene, sampling=None, watch=None):
    bag, _, workers, thresholds, seed = scene
    of = controller(bag, thresholds, seed=seed)
    return of, Simulation(of, workers, lambda ticket: votes_of(bag, ticket.rows, ticket.id), sampling, watch)


def simulated(scene, sampling=None, watch=None):
    of, simulation = staged(scene, sampling, watch)
    simulation.run(scene[1])
    return of, simulation


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_a_plain_ticket_runs_every_member_in_one_go_and_never_beside_one_with_exits(scene):
    bag, arrivals, _, _, _ = scene
    _, simulation = simulated(scene)
    only_one = len(bag.exits) == 1
    plain = {number for number, (_, request) in enumerate(arrivals, start=1) if request.options.never or only_one}
    for ran in simulation.ran:
        whole = ran.depth == 0 and ran.end == bag.members[ran.member].depth
        if plain & set(ran.rows):
            assert whole and plain >= set(ran.rows)
        else:
            assert ran.end == ran.depth + 1


def ready(scheduler):
    """Every piece that could run now, found without the queue."""
    return [
        piece
        for progress in scheduler.tickets.values()
        for pieces in progress.pieces
        for piece in pieces
        if not piece.busy and piece.depth < scheduler.member_depths[piece.member] and _has_its_turn(scheduler, piece)
    ]


def _has_its_turn(scheduler, piece):
    """Members of a short plain ticket run one after the other."""
    earlier = [p for pieces in piece.progress.pieces[: piece.member] for p in pieces]
    return not piece.progress.in_series or all(p.depth == scheduler.member_depths[p.member] for p in earlier)


def unanswered(piece):
    return bool(piece.progress.ticket.open.any())


class Handouts:
    """What was ready before each run."""

    def __init__(self):
        self._before = {}

    def __call__(self, scheduler, now_us):
        snapshot = [(item.progress.ticket.id, scheduler.kind(item), unanswered(item)) for item in ready(scheduler)]
        self._before[scheduler.counters.runs] = snapshot, scheduler.unconfirmed

    def of(self, simulation):
        """(run, what was ready before it, rows unconfirmed then), in order."""
        return [(ran, *self._before[number]) for number, ran in enumerate(simulation.ran)]


@st.composite
def hard_streams(draw):
    """Requests of 1 to 8 rows with every wish: full votes, deadlines that pass at any moment of a run, risks."""
    at_us = 0
    arrivals = []
    for key in range(draw(st.integers(1, 14))):
        at_us += draw(st.sampled_from([0, 1, 5, 60]))
        deadline_us = draw(st.one_of(st.none(), st.integers(1, 120)))
        options = ParsedOptions(never=draw(st.integers(0, 5)) == 0, deadline_us=deadline_us)
        arrivals.append((at_us, Request(key, draw(st.integers(1, 8)), options)))
    return arrivals


@st.composite
def hard_scenes(draw):
    """A bag under deadlines, sampled feedback, failing runs, merges and splits at once: (scene, seed of failures)."""
    bag = draw(bags())
    bag = dataclasses.replace(bag, settings=dataclasses.replace(bag.settings, max_unconfirmed_rows=draw(CAPS)))
    thresholds = [draw(st.sampled_from([0.0, 0.1, 0.4, 2.0])) for _ in bag.exits]
    scene = bag, draw(hard_streams()), draw(st.integers(1, 3)), thresholds, draw(st.integers(0, 99))
    return scene, draw(st.one_of(st.none(), st.integers(0, 99)))


CAPS = st.sampled_from([4, 16, 256])


@settings(max_examples=500, deadline=None)
@given(hard_scenes())
def test_whatever_happens_at_once_every_request_ends_once_and_nothing_is_left(hard_scene):
    scene, failures = hard_scene
    rng = np.random.default_rng(failures)
    of, simulation = staged(scene, FinishProbability(4, LEAST_Q, hold_us=50) if scene[-1] % 2 else None)
    of.finish_probability = simulation.scheduler.finish_probability = LEAST_Q
    if failures is not None:
        simulation._fails = lambda run: rng.random() < 0.1
    simulation.run(scene[1])
    assert sorted(release.key for _, release in simulation.releases) == [request.key for _, request in scene[1]]
    assert of.idle and not simulation.scheduler.tickets and simulation.scheduler.ready_pieces == 0
    assert simulation.scheduler.backlog == simulation.scheduler.unconfirmed == simulation.scheduler.open_tickets == 0


def test_a_ticket_in_two_pieces_may_be_seen_to_be_over_while_companions_are_looked_for():
    bag = engine_bag([[10, 10]], ((1,), (2,)))
    of = controller(bag, [0.0, 0.0])
    of.finish_probability = 0.0
    scheduler = Scheduler(bag, workers=1)
    older, younger = (of.tickets[admit(of, rows=8, key=key)] for key in ("older", "younger"))
    for ticket in (older, younger):
        scheduler.start(ticket, {})
    (whole,) = scheduler.tickets[younger.id].pieces[0]
    scheduler._queue.add(whole.split(4), Kind.CERTAIN)
    younger.dismiss(np.arange(8), moment=0)  # as a deadline does
    run = scheduler.next_run(idle_workers=0)
    assert [piece.progress.ticket.id for piece in run.pieces] == [older.id]
    assert list(scheduler.tickets) == [older.id] and scheduler.ready_pieces == 0


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_every_request_is_answered_once_and_nothing_is_left_in_the_engine(scene):
    of, simulation = simulated(scene)
    assert sorted(release.key for _, release in simulation.releases) == [item.key for _, item in scene[1]]
    assert all(release.answer is not None for _, release in simulation.releases)
    assert of.idle and not simulation.scheduler.tickets and simulation.scheduler.ready_pieces == 0
    assert simulation.scheduler.backlog == simulation.scheduler.unconfirmed == simulation.scheduler.open_tickets == 0


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_every_row_that_finishes_reaches_the_last_exit_exactly_once(scene):
    of, _ = simulated(scene, FinishProbability(4, LEAST_Q, hold_us=50))
    answered = sum(int(batch.finishes.sum()) for batch in thresholds_of(of).answered_batches)
    assert sum(len(batch) for batch in thresholds_of(of).learnt) == answered
    assert not thresholds_of(of).lost


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_the_segments_of_a_member_run_in_order_and_once_for_every_row(scene):
    bag, _, _, _, _ = scene
    _, simulation = simulated(scene)
    seen: dict[tuple[int, int, int], list[tuple[float, int]]] = {}
    for ran in simulation.ran:
        for ticket, rows in ran.rows.items():
            for row in rows:
                steps = seen.setdefault((ticket, ran.member, row), [])
                assert not steps or steps[-1][0] <= ran.start_us
                steps.append((ran.end_us, ran.depth, ran.end))
    for (_, member, _), steps in seen.items():
        depths = [depth for _, start, end in steps for depth in range(start, end)]
        assert depths == list(range(len(depths)))
        assert len(depths) <= bag.members[member].depth


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_with_full_feedback_every_row_runs_every_segment(scene):
    bag, arrivals, _, _, _ = scene
    _, simulation = simulated(scene)
    runs = sum(len(rows) * (ran.end - ran.depth) for ran in simulation.ran for rows in ran.rows.values())
    assert runs == sum(request.rows for _, request in arrivals) * sum(member.depth for member in bag.members)


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_no_feedback_starts_while_an_unanswered_ticket_has_something_to_run(scene):
    handouts = Handouts()
    _, simulation = simulated(scene, watch=handouts)
    for ran, before, _ in handouts.of(simulation):
        if ran.kind == Kind.FEEDBACK:
            assert not any(is_open for _, _, is_open in before)


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_the_oldest_unanswered_ticket_goes_first(scene):
    handouts = Handouts()
    _, simulation = simulated(scene, watch=handouts)
    for ran, before, _ in handouts.of(simulation):
        if ran.kind != Kind.FEEDBACK:
            rivals = [ticket for ticket, kind, is_open in before if kind == ran.kind and is_open]
            assert min(ran.rows) == min(rivals)


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_work_that_the_next_exit_waits_for_goes_before_work_that_it_does_not(scene):
    handouts = Handouts()
    _, simulation = simulated(scene, watch=handouts)
    for ran, before, _ in handouts.of(simulation):
        assert ran.kind == min(kind for _, kind, _ in before)


@settings(max_examples=60, deadline=None)
@given(scenes(max_unconfirmed_rows=4))
def test_near_the_cap_feedback_goes_before_an_unanswered_ticket_at_most_once(scene):
    handouts = Handouts()
    _, simulation = simulated(scene, watch=handouts)
    overtaken: list[int] = []
    for ran, before, unconfirmed in handouts.of(simulation):
        waiting = [(kind, ticket) for ticket, kind, is_open in before if is_open]
        if ran.kind == Kind.FEEDBACK and waiting:
            assert unconfirmed > 3
            overtaken.append(min(waiting)[1])
    assert len(overtaken) == len(set(overtaken)) == simulation.scheduler.counters.overtaking_runs


def refusals(scene):
    """What was ready when a worker was handed nothing: (workers idle beside it, unanswered by ready piece, backlog)."""
    _, simulation = staged(scene)
    scheduler, hand_out, refused = simulation.scheduler, simulation.scheduler.next_run, []

    def watched(idle_workers):
        run = hand_out(idle_workers)
        if run is None and (left := ready(scheduler)):
            refused.append((idle_workers, [unanswered(item) for item in left], scheduler.backlog))
        return run

    scheduler.next_run = watched
    simulation.run(scene[1])
    return refused


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_a_lane_refuses_work_only_if_it_is_the_last_idle_one_and_there_is_little_feedback(scene):
    bag, _, workers, _, _ = scene
    for idle_workers, left_unanswered, backlog in refusals(scene):
        assert workers > 1 and idle_workers == 0
        assert not any(left_unanswered)
        assert backlog < SPARE_SHARE * bag.settings.max_unconfirmed_rows


@settings(max_examples=40, deadline=None)
@given(scenes(max_unconfirmed_rows=4))
def test_no_lane_is_idle_while_there_is_much_feedback(scene):
    assert not refusals(scene)


def test_a_newcomer_finds_a_lane_free_of_feedback():
    bag = engine_bag([[10, 1000]], ((1,), (2,)))
    scene = bag, [(0, Request(0, 1)), (1, Request(1, 1)), (500, Request(2, 1))], 2, [2.0, 0.0], 0
    _, simulation = simulated(scene)
    assert [at_us for at_us, release in simulation.releases if release.key == 2] == [510]


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_q_of_the_feedback_is_the_q_that_ruled_at_the_decision(scene):
    q_seen = []
    sampling = FinishProbability(2, LEAST_Q, hold_us=50)
    of, _ = simulated(scene, sampling, watch=lambda *_: q_seen.append(np.float32(sampling.q)))
    last = len(of.manifest.exits) - 1
    for answered in thresholds_of(of).answered_batches:
        assert set(answered.q.tolist()) <= {1.0, *map(float, q_seen)}
        assert (answered.q >= LEAST_Q).all()
        assert answered.finishes[answered.q == 1.0].all()
        assert (answered.q[answered.exit == last] == 1.0).all()


def burst(rows_per_second, seconds, rng):
    at_us = np.cumsum(rng.exponential(1e6 / rows_per_second, size=int(rows_per_second * seconds)))
    return [(float(at), Request(key, 1)) for key, at in enumerate(at_us)]


# 31 ms a row; nobody is refused for the time that it would wait
BAG = engine_bag(
    [[5000, 5000], [4000, 4000, 4000], [9000]], ((1, 1, 0), (2, 2, 1), (2, 3, 1)), max_wait_ms=86_400_000.0
)


def test_feedback_is_full_and_prompt_under_moderate_load():
    sampling = FinishProbability(64, LEAST_Q)
    _, simulation = simulated((BAG, burst(40, 20, np.random.default_rng(1)), 2, [2.0, 2.0, 0.0], 1), sampling)
    assert sampling.q == 1.0  # 62 % of two workers: everything is finished, in idle time
    done_us = {ticket: ran.end_us for ran in simulation.ran for ticket in ran.rows}
    released_us = {release.key + 1: at for at, release in simulation.releases}
    assert max(done_us[ticket] - at for ticket, at in released_us.items()) < 1e6


def test_under_overload_q_falls_and_answers_keep_their_pace():
    sampling = FinishProbability(64, LEAST_Q)
    _, simulation = simulated((BAG, burst(110, 20, np.random.default_rng(1)), 2, [2.0, 2.0, 0.0], 1), sampling)
    waits = [release.latency_us for _, release in simulation.releases]  # 170 % of two workers if all were finished
    assert np.percentile(waits, 99) < 50_000 and sampling.q < 1.0


def test_feedback_does_not_dry_up_under_lasting_overload():
    unconfirmed = []
    scene = (BAG, burst(180, 5, np.random.default_rng(1)), 2, [2.0, 2.0, 0.0], 1)
    _, simulation = simulated(scene, FinishProbability(64, LEAST_Q), lambda of, _: unconfirmed.append(of.unconfirmed))
    assert simulation.scheduler.counters.overtaking_runs > 50
    assert np.percentile(unconfirmed, 95) < 1.1 * BAG.settings.max_unconfirmed_rows


def test_speculation_pauses_where_it_is_mostly_in_vain():
    of = controller(BAG, [2.0, 2.0, 0.0])
    of.finish_probability = 0.3
    simulation = Simulation(of, 2, lambda ticket: votes_of(BAG, ticket.rows, 1))
    simulation.scheduler.finish_probability = 0.3
    simulation.run(burst(60, 5, np.random.default_rng(1)))  # everybody leaves at the first exit
    kinds = [ran.kind for ran in simulation.ran]
    assert Kind.SPECULATIVE in kinds[:40] and Kind.SPECULATIVE not in kinds[-400:]


def test_after_overload_q_rises_again_to_full_feedback():
    rng = np.random.default_rng(2)
    sampling = FinishProbability(16, LEAST_Q)
    calm = [(item[0] + 5e6, Request(1000 + key, 1)) for key, item in enumerate(burst(10, 10, rng))]
    lowest = []
    scene = (BAG, burst(200, 5, rng) + calm, 2, [2.0, 2.0, 0.0], 1)
    simulated(scene, sampling, watch=lambda *_: lowest.append(sampling.q))
    assert min(lowest) == LEAST_Q and sampling.q == 1.0


def test_the_member_that_the_exit_waits_for_longest_goes_first():
    of = controller(BAG, [0.0, 0.0, 0.0], active=[False, False, True])
    scheduler = Scheduler(BAG, workers=1)
    scheduler.start(of.tickets[admit(of)], {})
    assert [scheduler.next_run().member for _ in range(3)] == [1, 0, 2]  # 12, 10, 9 ms to go


def exit_of_the_first_vote(**options):
    uneven = engine_bag([[1000], [5000, 5000, 5000]], ((1, 1), (1, 3)))
    of = controller(uneven, [0.0, 0.0])
    scheduler = Scheduler(uneven, workers=1)
    scheduler.start(of.tickets[admit(of, never=True, **options)], {})
    while not (dues := scheduler.done(scheduler.next_run())):
        pass
    return dues[0].exit_


def test_a_ticket_with_a_deadline_gets_a_vote_at_every_exit_also_where_it_never_leaves_early():
    assert exit_of_the_first_vote(deadline_us=5) == 0
    assert exit_of_the_first_vote() == 1


def test_tickets_share_a_run_where_that_is_cheaper():
    bag = engine_bag([[10.0]], ((1,),), shrink=0.2)
    of = controller(bag, [0.0])
    scheduler = Scheduler(bag, workers=1)
    for key in range(3):
        scheduler.start(of.tickets[admit(of, key=key)], {})
    assert scheduler.next_run().rows == 3


def test_tickets_do_not_share_a_run_where_that_saves_nothing():
    bag = engine_bag([[10.0]], ((1,),), shrink=1.0)
    of = controller(bag, [0.0])
    scheduler = Scheduler(bag, workers=1)
    for key in range(3):
        scheduler.start(of.tickets[admit(of, key=key)], {})
    assert scheduler.next_run().rows == 1


def test_idle_lanes_share_a_large_batch():
    bag = engine_bag([[1000.0]], ((1,),), shrink=1.0)
    of = controller(bag, [0.0])
    scheduler = Scheduler(bag, workers=3)
    scheduler.start(of.tickets[admit(of, rows=8)], {})
    runs = [scheduler.next_run(idle) for idle in (2, 1, 0)]
    assert sorted(run.rows for run in runs) == [2, 3, 3]
    assert sorted(row for run in runs for row in run.pieces[0].rows.tolist()) == list(range(8))


def test_the_exit_of_a_split_batch_is_due_when_its_last_part_is_done():
    bag = engine_bag([[1000.0]], ((1,),), shrink=1.0)
    of = controller(bag, [0.0])
    scheduler = Scheduler(bag, workers=2)
    scheduler.start(of.tickets[admit(of, rows=8)], {})
    first, second = scheduler.next_run(1), scheduler.next_run(0)
    assert scheduler.done(second) == []
    assert [due.exit_ for due in scheduler.done(first)] == [0]


def test_rows_that_are_answered_and_not_sampled_leave_the_batch():
    bag = engine_bag([[10.0, 10.0]], ((1,), (2,)))
    of = controller(bag, [0.2, 0.0])
    of.finish_probability = 1e-9
    scheduler = Scheduler(bag, workers=1)
    ticket = of.tickets[admit(of, rows=6)]
    scheduler.start(ticket, {})
    (due,) = scheduler.done(scheduler.next_run())
    of.arrived(ticket.id, {(0, 1): votes_of(bag, 6)[0, 1]}, 10)
    scheduler.decided(due)
    stay = np.flatnonzero(ticket.running)
    assert 0 < len(stay) < 6
    assert scheduler.next_run().pieces[0].rows.tolist() == stay.tolist()


def test_a_ticket_without_running_rows_is_dropped():
    bag = engine_bag([[10.0, 10.0]], ((1,), (2,)))
    of = controller(bag, [2.0, 0.0])
    of.finish_probability = 1e-9
    scheduler = Scheduler(bag, workers=1)
    ticket = of.tickets[admit(of)]
    scheduler.start(ticket, {})
    (due,) = scheduler.done(scheduler.next_run())
    of.arrived(ticket.id, {(0, 1): votes_of(bag, 1)[0, 1]}, 10)
    scheduler.decided(due)
    assert not scheduler.tickets and scheduler.next_run() is None


def test_a_failed_ticket_takes_nobody_with_it():
    of = controller(BAG, [2.0, 2.0, 0.0])
    scheduler = Scheduler(BAG, workers=1)
    tickets = [admit(of, key=key) for key in range(3)]
    for ticket in tickets:
        scheduler.start(of.tickets[ticket], {})
    scheduler.drop(tickets[0])
    served = []
    while (run := scheduler.next_run()) is not None:
        served += [piece.progress.ticket.id for piece in run.pieces]
        for due in scheduler.done(run):
            scheduler.decided(due)
    assert set(served) == set(tickets[1:]) and len(served) == 12


def test_a_run_under_way_of_a_dropped_ticket_comes_to_nothing():
    of = controller(BAG, [2.0, 2.0, 0.0])
    scheduler = Scheduler(BAG, workers=1)
    ticket = admit(of)
    scheduler.start(of.tickets[ticket], {})
    run = scheduler.next_run()
    scheduler.drop(ticket)
    assert scheduler.done(run) == [] and scheduler.next_run() is None


def test_an_answer_by_deadline_turns_the_rest_into_feedback():
    of = controller(BAG, [0.0, 0.0, 0.0])
    scheduler = Scheduler(BAG, workers=1)
    late, other = admit(of, key="late", deadline_us=5), admit(of, key="other")
    scheduler.start(of.tickets[late], {})
    first = [scheduler.next_run(), scheduler.next_run()]
    due = [item for run in first for item in scheduler.done(run)]
    votes = votes_of(BAG, 1)
    of.arrived(late, {(0, 1): votes[0, 1], (1, 1): votes[1, 1]}, 3)
    scheduler.decided(due[0])
    scheduler.start(of.tickets[other], {})
    (release,) = of.tick(6)
    assert release.answer.reason[0] == Reason.DEADLINE
    assert scheduler.next_run().pieces[0].progress.ticket.id == other


def test_a_queue_under_lasting_load_does_not_keep_what_is_over():
    of = controller(BAG, [2.0, 2.0, 0.0])
    of.finish_probability = 1e-9
    simulation = Simulation(of, 2, lambda ticket: votes_of(BAG, ticket.rows, 1))
    simulation.run([(0.0, Request(key, 1)) for key in range(400)])
    assert simulation.scheduler._queue.entries() < 200


def test_a_ticket_that_is_over_is_freed_without_waiting_for_the_garbage_collector():
    of = controller(BAG, [0.0, 0.0, 0.0])
    scheduler = Scheduler(BAG, workers=1)
    dropped = admit(of)
    scheduler.start(of.tickets[dropped], {})
    progress = weakref.ref(scheduler.tickets[dropped])
    gc.collect()
    gc.disable()
    try:
        scheduler.drop(dropped)
        assert scheduler.next_run() is None  # lets go of what the queue had
        assert progress() is None
    finally:
        gc.enable()


def test_more_lanes_never_answer_later_on_an_empty_machine():
    answered = []
    for workers in (1, 2, 3):
        of = Controller(BAG, FixedThresholds(BAG, [0.0, 0.0, 0.0]), np.random.default_rng(0))
        simulation = Simulation(of, workers, lambda ticket: votes_of(BAG, ticket.rows, 1))
        simulation.run([(0.0, Request("a", 1))])
        answered.append(simulation.releases[0][0])
    assert answered == [31_000, 17_000, 12_000]


def test_a_short_plain_ticket_is_one_workers_and_offers_nothing_to_others():
    bag = engine_bag([[10.0, 10.0], [10.0], [10.0]], ((1, 0, 0), (2, 1, 1)))
    of = controller(bag, [0.0, 0.0])
    scheduler = Scheduler(bag, workers=3)
    scheduler.start(of.tickets[admit(of, rows=8, never=True)], {})
    for member in range(3):
        assert scheduler.ready_pieces == 1
        run = scheduler.next_run(idle_workers=2)
        assert (run.member, run.rows, run.end) == (member, 8, bag.members[member].depth)
        assert scheduler.ready_pieces == 0 and scheduler.next_run(idle_workers=1) is None
        dues = scheduler.done(run)
    assert [due.exit_ for due in dues] == [1]


def test_work_is_counted_by_the_profile_and_full_feedback_is_all_of_it():
    simulation = Simulation(controller(BAG, [2.0, 2.0, 0.0]), 2, lambda ticket: votes_of(BAG, ticket.rows, ticket.id))
    simulation.run([(0.0, Request("a", 1))])
    counters = simulation.scheduler.counters
    assert counters.work_us == counters.full_work_us == sum(sum(s.cost_us[1] for s in m.segments) for m in BAG.members)


@pytest.mark.parametrize(("in_parts", "workers_of_the_first_exit"), [(True, {0, 1}), (False, {0})])
def test_rows_that_leave_one_by_one_are_worked_on_by_all_before_anybody_works_ahead(
    in_parts, workers_of_the_first_exit
):
    bag = dataclasses.replace(engine_bag([[100.0], [100.0]], ((1, 0), (1, 1))), slowdown=(1.0, 1.6))
    simulation = Simulation(controller(bag, [1.1, 0.0]), 2, lambda ticket: votes_of(bag, ticket.rows, 1))
    simulation.scheduler.orders.leaving = [0.9, 1.0]
    simulation.run([(0.0, Request("a", 8, in_parts=in_parts))])
    assert {ran.worker for ran in simulation.ran if ran.member == 0} == workers_of_the_first_exit
