"""How long requests wait on one machine, in simulated time: a formula, quick enough for a day of load."""

from __future__ import annotations

import numpy as np

from exeunt.costing.answers import AnswerMix


def latencies_us(mix: AnswerMix, arrivals_us: np.ndarray, cores: int, rng: np.random.Generator) -> np.ndarray:
    """Latency of every request, float64 [requests].

    The engine's order of work, simplified: the unanswered work in front of a request is shared by all cores and comes
    first (a work-conserving queue); answered rows finish in idle time, but a core that has begun a segment of theirs
    ends it. A request at the head takes the time that its exit takes at rest.

    Args:
        mix: of the answers.
        arrivals_us: ascending.
        cores: of the machine.
        rng: for exits and feedback.
    """
    exits = mix.drawn(len(arrivals_us), rng)
    finishes = rng.random(len(exits)) < mix.feedback
    rests_us = np.where(finishes, mix.full_work_us - mix.work_us[exits], 0.0)
    pace = mix.full_speed(cores)
    delays = rng.random(len(exits)) * mix.segment_us / pace
    latency_us = np.empty(len(exits))
    urgent_us = later_us = 0.0  # work of one core that is left
    before_us = 0.0
    for number, now_us in enumerate(arrivals_us.tolist()):
        passed_us = pace * (now_us - before_us)
        before_us = now_us
        done_us = min(urgent_us, passed_us)
        urgent_us -= done_us
        later_us = max(0.0, later_us - (passed_us - done_us))
        wait_us = urgent_us / pace
        if later_us > 0.0 and urgent_us == 0.0:
            wait_us += delays[number]
        exit_ = exits[number]
        latency_us[number] = wait_us + mix.latency_us[exit_]
        urgent_us += float(mix.work_us[exit_])
        later_us += float(rests_us[number])
    return latency_us
