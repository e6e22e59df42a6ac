"""Bags, streams and scenes for tests of the scheduler, in simulated time."""

import dataclasses

from hypothesis import strategies as st

from exeunt.deciding.request import ParsedOptions, Request
from tests.deciding.controller_bag import controller, manifest, votes_of
from tests.engine.simulate import Simulation

LEAST_Q = 0.25


def engine_bag(costs, exits, shrink=0.9, **settings):
    """A bag in engine mode: `costs[m][d]` is the time of one row, `shrink` what a batch saves."""
    bag = manifest(depths=exits, weights=(1.0,) * len(costs), **({"gear": "exits"} | settings))
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
def bags(draw, **settings):
    """1 to 3 members of 1 to 4 segments, 1 to 4 exits that only go deeper."""
    full = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    costs = [draw(st.lists(st.integers(1, 20), min_size=n, max_size=n)) for n in full]
    exits = [tuple(full)]
    for _ in range(draw(st.integers(0, 3))):
        shallower = tuple(draw(st.integers(0, depth)) for depth in exits[0])
        if any(shallower) and shallower != exits[0]:
            exits.insert(0, shallower)
    bag = engine_bag(costs, tuple(exits), draw(st.sampled_from([0.3, 0.9, 1.0])), **settings)
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
def scenes(draw, **settings):
    """A bag under load: (bag, arrivals, workers, thresholds, seed)."""
    bag = draw(bags(**settings))
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
        never, hurries = draw(st.integers(0, 5)) == 0, deadline_us is not None
        options = ParsedOptions(never=never, deadline_us=deadline_us, hurries=hurries)
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


# 31 ms a row; nobody is refused for the time that it would wait
BAG = engine_bag(
    [[5000, 5000], [4000, 4000, 4000], [9000]], ((1, 1, 0), (2, 2, 1), (2, 3, 1)), max_wait_ms=86_400_000.0
)
