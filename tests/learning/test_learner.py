"""The learner between its jobs."""

from __future__ import annotations

import io

import numpy as np

from exeunt.deciding.heads import Head
from exeunt.learning.job import Job, JobResult, run_job
from exeunt.learning.learner import ADVANCE_CPU_S, Bounds, Change, Learner
from tests.learning.world import CLASSES, STRUCTURE, Clock, exported, served

SECOND_US = 1_000_000
EPS = 0.02


def learner(cpu_share: float = 1.0) -> Learner:
    return Learner(STRUCTURE, exported(), Bounds(1 << 22, 3600 * SECOND_US, cpu_share), CLASSES)


def waiting_learner() -> Learner:
    """A learner with rows and processor time for its first fit."""
    of = learner()
    of.add(served(512, seed=0))
    of.pass_time(0)
    of.pass_time(100 * SECOND_US)
    return of


def work(of: Learner, clock: Clock | None = None) -> tuple[Job | None, Change | None]:
    job = of.job(EPS)
    return job, None if job is None else of.finished(run_job(job, clock or Clock()))


def run_stream(of: Learner, rows: int, seed: int = 0, step: int = 64, turn: float = 0.0) -> list[Change]:
    """Rows come, a second for each batch, and jobs are done as they are due."""
    changes = []
    for number in range(rows // step):
        at_us = number * SECOND_US
        of.add(served(step, seed=number + 1000 * seed, first_us=at_us, turn=turn))
        of.pass_time(at_us)
        _, change = work(of)
        changes += [] if change is None else [change]
    return changes


def test_heads_get_better_while_rows_come() -> None:
    of = learner()
    changes = run_stream(of, 3000)
    assert changes and of.heads.version == len(changes)
    rows = served(2000, seed=4242)
    before, _ = STRUCTURE.exit_votes(rows, exported())
    after, _ = STRUCTURE.exit_votes(rows, {**exported(), **of.heads.table})
    better = (after == rows.labels[:, None]).mean(axis=0) - (before == rows.labels[:, None]).mean(axis=0)
    assert better[0] > 0.1 and better[1] > 0.1


def test_a_candidate_is_judged_only_by_rows_that_came_after_its_fit() -> None:
    of = learner()
    last_fitted = -1
    judged = 0
    for number in range(60):
        of.add(served(64, seed=number))
        of.pass_time(number * SECOND_US)
        job, _ = work(of)
        if job is None:
            continue
        if job.candidate is None:
            last_fitted = int(job.rows.numbers.max())
        else:
            judged += 1
            assert job.rows.numbers.min() > last_fitted
    assert judged


def test_what_is_known_of_new_heads_comes_from_the_judged_rows() -> None:
    of = learner()
    change = run_stream(of, 3000)[0]
    assert len(change.labels) == len(change.confidence) == len(change.q) >= 256
    assert np.isfinite(change.confidence).all()


def test_a_frozen_learner_changes_nothing() -> None:
    of = learner()
    of.frozen = True
    assert not run_stream(of, 2000)
    assert of.heads.version == 0


def test_jobs_take_no_more_than_their_share_of_the_processor() -> None:
    of = learner(cpu_share=0.02)
    for number in range(3000):
        of.add(served(8, seed=number % 50, first_us=number * SECOND_US))
        of.pass_time(number * SECOND_US)
        job = of.job(EPS)
        if job is not None:
            assert job.cpu_s > 0
            of.finished(JobResult(cpu_s=min(1.5, job.cpu_s)))
    assert of.metrics()["fits_total"] > 5
    assert of.cpu_s <= 0.02 * 3000 + ADVANCE_CPU_S


def test_a_job_that_fails_costs_its_time_and_nothing_else() -> None:
    of = waiting_learner()
    assert of.job(EPS) is not None
    of.failed(3.0)
    assert of.heads.version == 0 and of.cpu_s == 3.0 and of.metrics()["failures_total"] == 1


def test_a_candidate_that_does_not_prove_itself_is_dropped() -> None:
    of = waiting_learner()
    fit = of.job(EPS)
    assert fit is not None and fit.candidate is None
    rng = np.random.default_rng(0)
    bad = {p: Head(rng.standard_normal(h.weight.shape).astype(np.float32), h.bias) for p, h in exported().items()}
    of.finished(JobResult(heads=bad, cpu_s=0.1))
    for number in range(1, 17):
        assert of.metrics()["candidate"] == 1
        of.add(served(64, seed=number))
        of.pass_time((100 + 10 * number) * SECOND_US)
        work(of)
    assert of.heads.version == 0
    assert of.metrics()["candidate"] == 0


def test_heads_of_an_operator_take_the_place_of_a_candidate() -> None:
    of = waiting_learner()
    fit = of.job(EPS)
    assert fit is not None
    of.finished(run_job(fit, Clock()))
    table = {(0, 1): Head(np.zeros((12, CLASSES), np.float32), np.zeros(CLASSES, np.float32))}
    change = of.replace(table)
    assert of.heads.version == 1 and of.metrics()["candidate"] == 0
    assert len(change.labels) == 0 and of.previous is not None and not of.previous.table


def test_jobs_and_outcomes_survive_a_file() -> None:
    of = waiting_learner()
    job = of.job(EPS)
    assert job is not None
    file = io.BytesIO()
    job.save(file)
    file.seek(0)
    again = Job.load(file)
    first, second = run_job(job, Clock()), run_job(again, Clock())
    assert again.structure == job.structure
    file = io.BytesIO()
    second.save(file)
    file.seek(0)
    loaded = JobResult.load(file)
    for pair, head in first.heads.items():
        np.testing.assert_array_equal(head.weight, loaded.heads[pair].weight)
    assert loaded.note == first.note and set(loaded.heads) == set(first.heads)
