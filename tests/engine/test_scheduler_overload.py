"""The scheduler under moderate load, overload and after it, in simulated time."""

import numpy as np

from exeunt.deciding.request import Request
from exeunt.engine.progress import Kind
from exeunt.engine.sampling import FinishProbability
from tests.deciding.controller_bag import controller, votes_of
from tests.engine.scenes import BAG, LEAST_Q, simulated
from tests.engine.simulate import Simulation


def burst(rows_per_second, seconds, rng):
    at_us = np.cumsum(rng.exponential(1e6 / rows_per_second, size=int(rows_per_second * seconds)))
    return [(float(at), Request(key, 1)) for key, at in enumerate(at_us)]


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
    of.decisions.changes.set_finish_probability(0.3)
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
