"""The scheduler's rules, against simulated time: the real controller, workers that only wait."""

import numpy as np
from hypothesis import given, settings

from exeunt.deciding.request import Request
from exeunt.engine.progress import Kind
from exeunt.engine.sampling import FinishProbability
from exeunt.engine.scheduler import SPARE_SHARE, Scheduler
from tests.deciding.controller_bag import admit, controller, thresholds_of
from tests.engine.scenes import LEAST_Q, Handouts, engine_bag, hard_scenes, ready, scenes, simulated, staged, unanswered


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


@settings(max_examples=500, deadline=None)
@given(hard_scenes())
def test_whatever_happens_at_once_every_request_ends_once_and_nothing_is_left(hard_scene):
    scene, failures = hard_scene
    rng = np.random.default_rng(failures)
    of, simulation = staged(scene, FinishProbability(4, LEAST_Q, hold_us=50) if scene[-1] % 2 else None)
    of.decisions.changes.set_finish_probability(LEAST_Q)
    simulation.scheduler.finish_probability = LEAST_Q
    if failures is not None:
        simulation._fails = lambda run: rng.random() < 0.1
    simulation.run(scene[1])
    assert sorted(release.key for _, release in simulation.releases) == [request.key for _, request in scene[1]]
    assert of.idle and not simulation.scheduler.tickets and simulation.scheduler.ready_pieces == 0
    assert simulation.scheduler.backlog == simulation.scheduler.unconfirmed == simulation.scheduler.open_tickets == 0


def test_a_ticket_in_two_pieces_may_be_seen_to_be_over_while_companions_are_looked_for():
    bag = engine_bag([[10, 10]], ((1,), (2,)))
    of = controller(bag, [0.0, 0.0])
    of.decisions.changes.set_finish_probability(0.0)
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
    steps_by_row: dict[tuple[int, int, int], list[tuple[float, int]]] = {}
    for ran in simulation.ran:
        for ticket, rows in ran.rows.items():
            for row in rows:
                steps = steps_by_row.setdefault((ticket, ran.member, row), [])
                assert not steps or steps[-1][0] <= ran.start_us
                steps.append((ran.end_us, ran.depth, ran.end))
    for (_, member, _), steps in steps_by_row.items():
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
        if run is None and (ready_pieces := ready(scheduler)):
            refused.append((idle_workers, [unanswered(item) for item in ready_pieces], scheduler.backlog))
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
