"""The comparison: every policy on every stream of both bags, several seeds, in as many processes as there are cores."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison.material import Material, prepare, stream_of
from benchmarks.comparison.scenarios import Scenario, scenarios
from exeunt.manifest import Costs
from exeunt.replay.hindsight import answer_fixed, answer_oracle, best_fixed
from exeunt.replay.policies import Policy, run_policy
from exeunt.replay.run import ReplayResult, ReplayRun, result_of
from exeunt.replay.stream import VoteStream

BEST_FIXED = "best fixed (hindsight)"
ORACLE = "oracle (hindsight)"
PAPER, PUBLIC_CODE = "hill_climb, paper", "hill_climb, public code"
POLICIES = (
    Policy("static", "static", {}),
    Policy("patience", "patience", {}),
    Policy(PAPER, "hill_climb", {"constants": "paper"}),
    Policy(PUBLIC_CODE, "hill_climb", {"constants": "public_code"}),
    Policy("budget", "budget", {}),
)
DRAWN = (PAPER, "budget", BEST_FIXED)  # in pictures of one stream
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ComparisonPlan:
    """What is compared.

    Attributes:
        data: names of the bags.
        rows: length of each stream.
        seeds: number of seeds.
        max_loss: the promise.
        work: folder of bags and streams, reused.
    """

    data: tuple[str, ...]
    rows: int
    seeds: int
    max_loss: float
    work: Path


@dataclass(frozen=True, slots=True)
class ComparedStream:
    """One stream, answered by every policy.

    Attributes:
        data: name of the bag.
        scenario: name of the shape; `drifts`: whether it does.
        seed: of the stream.
        results: by policy, in the order of POLICIES, then the references.
    """

    data: str
    scenario: str
    drifts: bool
    seed: int
    results: dict[str, ReplayResult]


def compare(plan: ComparisonPlan, say: Say, processes: int | None = None) -> Iterator[ComparedStream]:
    """Answer every stream with every policy.

    Args:
        plan: what.
        say: takes lines about long steps.
        processes: how many work at once; None = one per core.

    Yields:
        one ComparedStream per bag, scenario and seed, as they get ready.
    """
    tasks = []
    for name in plan.data:
        material = prepare(name, plan.work, say)  # before the processes: they would all train the same bag
        tasks += [
            (plan, name, shape.name, seed) for seed in range(plan.seeds) for shape in _shapes(plan, material, seed)
        ]
    workers = processes or os.cpu_count() or 1
    if workers == 1:
        yield from (compare_stream(*task) for task in tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(compare_stream, *task) for task in tasks]):
            yield future.result()


def compare_stream(plan: ComparisonPlan, data: str, scenario: str, seed: int) -> ComparedStream:
    """Answer one stream with every policy."""
    material, shape = find(plan, data, scenario, seed)
    stream = stream_of(material, shape, seed, _silent)
    costs = material.manifest.costs()
    results = {run.policy: result_of(stream, run, costs, plan.max_loss) for run in runs_of(plan, material, stream)}
    return ComparedStream(data, scenario, shape.drifts, seed, results)


def find(plan: ComparisonPlan, data: str, scenario: str, seed: int) -> tuple[Material, Scenario]:
    """A bag, prepared before, and one shape for it."""
    material = prepare(data, plan.work, _silent)
    shape = next(shape_ for shape_ in _shapes(plan, material, seed) if shape_.name == scenario)
    return material, shape


def drawn_runs(
    plan: ComparisonPlan, data: str, scenario: str, seed: int = 0
) -> tuple[VoteStream, list[ReplayRun], Costs]:
    """One stream and the runs that are drawn along it."""
    material, shape = find(plan, data, scenario, seed)
    stream = stream_of(material, shape, seed, _silent)
    runs = [run for run in runs_of(plan, material, stream) if run.policy in DRAWN]
    return stream, runs, material.manifest.costs()


def runs_of(plan: ComparisonPlan, material: Material, stream: VoteStream) -> Iterator[ReplayRun]:
    """Every policy on one stream; then the references."""
    costs = material.manifest.costs()
    base = dataclasses.replace(material.manifest.settings, max_loss=plan.max_loss)
    for policy in POLICIES:
        yield run_policy(policy, stream, costs, policy.settings(base), material.calibration)
    fixed_thresholds = best_fixed(stream, costs, plan.max_loss, base.lossless)
    yield answer_fixed(stream, fixed_thresholds, costs, base.lossless, policy=BEST_FIXED)
    yield answer_oracle(stream, costs, policy=ORACLE)


def _shapes(plan: ComparisonPlan, material: Material, seed: int) -> list[Scenario]:
    return scenarios(plan.rows, material.manifest.classes, material.hard_class, seed)


def _silent(_line: str) -> None:
    """The parent process tells what is being done."""
