"""Threads of one run in engine mode, chosen from measured times where the bag file leaves them open.

More threads in each run help a host with more cores than members. A host with as many members as cores is better off
with one thread in each run and the members side by side: threads of one run wait for each other, workers do not. How
much workers slow each other down is measured too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from exeunt.cores import usable_cores
from exeunt.engine.exit_times import exit_times
from exeunt.engine.sessions import CPU, workers_of
from exeunt_export.counting import COUNTED
from exeunt_export.cutting.chain import Chain
from exeunt_export.export_progress import Stages
from exeunt_export.planning.cut_members import CutMember
from exeunt_export.planning.opening import OpenedBag
from exeunt_export.profile import segment_times
from exeunt_export.profile.crowding import slowdown_of

WORTH = 0.9  # more threads must bring the time down to this share, at least


def choose_threads(
    opened: OpenedBag, cut: Sequence[CutMember], stages: Stages
) -> tuple[OpenedBag, list[CutMember], tuple[float, ...]]:
    """The bag with `intra_op_threads` settled, and its segments ready to be timed with as many.

    Candidates are 1, 2, 4, ... up to the host's cores. Each is judged by the latency of the full ensemble for one row
    on an idle machine: every segment timed with that many threads, on as many workers as cores are left for, and slowed
    down by each other.

    Args:
        opened: the bag; a number in its settings stands, and outside engine mode on a CPU it is 1.
        cut: its members.
        stages: hears of "threads".

    Returns:
        bag, members, and the workers' slowdown (see exeunt.engine.exit_times.slowed; empty where times are counted).
    """
    settings = opened.bag.settings
    threads = settings.intra_op_threads or 1
    slowdowns: dict[int, tuple[float, ...]] = {}
    if not settings.intra_op_threads and opened.bag.mode == "engine" and settings.providers.startswith(CPU):
        candidates = powers_of_two(usable_cores())
        latency_us: dict[int, float] = {}
        for candidate in candidates:
            stages.at("threads", len(latency_us), len(candidates))
            slowdowns[candidate] = _slowdown(opened, cut, candidate)
            latency_us[candidate] = _latency_us(opened, cut, candidate, slowdowns[candidate])
        stages.at("threads", len(candidates), len(candidates))
        threads = fewest_threads_that_pay(latency_us)
    ready = list(cut)
    if threads > 1:
        ready = [
            dataclasses.replace(member_cut, chain=Chain(member_cut.chain.name, member_cut.files, threads))
            for member_cut in cut
        ]
    bag = dataclasses.replace(opened.bag, settings=dataclasses.replace(settings, intra_op_threads=threads))
    slowdown = slowdowns[threads] if threads in slowdowns else _slowdown(opened, cut, threads)
    return dataclasses.replace(opened, bag=bag), ready, slowdown


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`."""
    return [1 << power for power in range(most.bit_length())]


def fewest_threads_that_pay(latency_us: dict[int, float]) -> int:
    """The number of threads after which more do not pay; from latency by threads, ascending."""
    best, *more = latency_us
    for threads in more:
        if latency_us[threads] <= WORTH * latency_us[best]:
            best = threads
    return best


def _workers(opened: OpenedBag, threads: int) -> int:
    """Workers for which cores are left with so many threads in each run."""
    return workers_of(dataclasses.replace(opened.bag.settings, intra_op_threads=threads))


def _slowdown(opened: OpenedBag, cut: Sequence[CutMember], threads: int) -> tuple[float, ...]:
    """How much these workers slow each other down, measured with the costliest member."""
    if opened.bag.mode != "engine" or opened.bag.cuts.times == COUNTED:
        return ()
    costliest = max(range(len(cut)), key=lambda number: opened.members[number].costs.total_us)
    cut[costliest].chain.close()  # weights are large: a member's are in memory once
    chain = Chain(cut[costliest].chain.name, cut[costliest].files, threads)
    return slowdown_of(chain, opened.rows_of(opened.members[costliest].member), _workers(opened, threads))


def _latency_us(opened: OpenedBag, cut: Sequence[CutMember], threads: int, slowdown: tuple[float, ...]) -> float:
    """Latency of the full ensemble for one row, alone on this machine."""
    segments_us = []
    for measured, member_cut in zip(opened.members, cut, strict=True):
        member_cut.chain.close()  # weights are large: a member's are in memory once
        chain = Chain(member_cut.chain.name, member_cut.files, threads)
        costs = segment_times.profile_chain(chain, opened.rows_of(measured.member), [1], lambda: None)
        segments_us.append([cost[1] for cost in costs])
    full = tuple(len(member_us) for member_us in segments_us)
    return exit_times(segments_us, [full], _workers(opened, threads), None, slowdown)[-1]
