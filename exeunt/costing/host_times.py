"""How long a bag's members take on this host now: alone, side by side on all cores, several rows at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from exeunt.bag_parts import ModelPart, Tensors, first_rows, parts_of, run_parts
from exeunt.engine.sessions import CPU, Session
from exeunt.errors import ConfigError, ServingError
from exeunt.manifest import Manifest, Tensor

ROUNDS = 5  # of all arrangements in turns: other work on a host comes in bursts
BATCH_ROWS = 8
BUSY = 1.5  # on a quiet host 1.1


@dataclass(frozen=True, slots=True)
class HostTimes:
    """What was measured.

    Attributes:
        passes_us: by member, float64 [passes, segments]: one row while no other member runs; one pass is as likely as
            another.
        slowdown: by number of members that run at a time, from 1 on: how much longer each takes than an even share of
            the cores explains; the last counts for more.
        batch_factors: by member, of BATCH_ROWS rows in times of one.
    """

    passes_us: tuple[np.ndarray, ...]
    slowdown: tuple[float, ...]
    batch_factors: tuple[float, ...]

    @property
    def busy(self) -> bool:
        """One pass in ten took BUSY times as long as the quickest tenth: other work held the cores."""
        lows_highs = [np.quantile(passes_us.sum(axis=1), [0.1, 0.9]) for passes_us in self.passes_us]
        return any(high > BUSY * low for low, high in lows_highs)


def measure(
    manifest: Manifest, folder: Path, cores: int, seconds: float, inputs: Mapping[str, np.ndarray] | None = None
) -> HostTimes:
    """Run rows through the members for some seconds: one member at a time, one on each core, all at once; in turns.

    Args:
        manifest: of the bag.
        folder: `NAME_exit/1` in an exported repository.
        cores: of the host.
        seconds: to measure, after loading the models.
        inputs: input of the bag -> real rows [rows, ...], of which the first few are used; None: rows of zeros.

    Raises:
        ConfigError: an input is missing, or a file of the repository.
        ServingError: a model does not run on these rows.
    """
    chains = _chains(manifest, folder)
    real = inputs or {tensor.name: _zeros(tensor) for tensor in manifest.inputs}
    if absent := {tensor.name for tensor in manifest.inputs} - real.keys():
        raise ConfigError(f"inputs {sorted(real)}: {', '.join(sorted(absent))} is missing")
    rows, batch = (first_rows(real, count) for count in (1, BATCH_ROWS))
    sizes = sorted({1, cores, max(cores, len(chains))})
    round_s = seconds / ROUNDS / (len(sizes) + 1)
    for chain in chains:  # the first runs of a session allocate
        for fed in (rows, batch):
            chain(fed)
    by_size: dict[int, list[list[list[float]]]] = {size: [[] for _ in chains] for size in sizes}
    batches: list[list[list[float]]] = [[] for _ in chains]
    per_s: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(ROUNDS):
        for size, passes in by_size.items():
            per_s[size].append(_side_by_side(chains, rows, size, round_s, passes))
        _side_by_side(chains, batch, 1, round_s, batches)
    slowdown = slowdown_of({size: float(np.median(rates)) for size, rates in per_s.items()}, cores)
    medians_us = [[float(np.median(np.sum(p, axis=1))) for p in passes] for passes in (batches, by_size[1])]
    return HostTimes(
        passes_us=tuple(np.array(passes) for passes in by_size[1]),
        slowdown=slowdown,
        batch_factors=tuple(batch_us / one_us for batch_us, one_us in zip(*medians_us, strict=True)),
    )


def slowdown_of(per_s: Mapping[int, float], cores: int) -> tuple[float, ...]:
    """See HostTimes.

    Args:
        per_s: number of members that run at a time -> passes per second of all together; 1 is among them.
        cores: of the host.
    """
    sizes = sorted(per_s)
    ratios = np.maximum.accumulate([per_s[1] * min(size, cores) / per_s[size] for size in sizes])
    return tuple(np.interp(range(1, sizes[-1] + 1), sizes, ratios).tolist())


Pass = Callable[[Mapping[str, np.ndarray]], list[float]]  # through one member: rows -> time of each segment


def _chains(manifest: Manifest, folder: Path) -> list[Pass]:
    """By member, a pass through its segments."""
    by_member: list[dict[ModelPart, Session]] = [{} for _ in manifest.members]
    for part in parts_of(manifest):
        if not part.is_heads:
            file = part.file(folder.parent.parent, manifest.bag)
            by_member[part.number][part] = Session(file, manifest.settings.intra_op_threads or 1, [CPU])
    return [partial(_pass_us, manifest, sessions) for sessions in by_member]


def _zeros(tensor: Tensor) -> np.ndarray:
    if any(dim < 0 for dim in tensor.dims):
        raise ServingError(f"input {tensor.name} has a free axis: which length is usual, only real rows tell")
    return np.zeros((1, *tensor.dims), dtype=tensor.dtype)


def _side_by_side(
    chains: Sequence[Pass],
    rows: Mapping[str, np.ndarray],
    threads: int,
    seconds: float,
    passes: Sequence[list[list[float]]],
) -> float:
    """Let so many threads run members in turns and add the times of their passes; passes per second of all together."""
    errors: list[Exception] = []
    per_s: list[float] = []
    barrier = threading.Barrier(threads)

    def work(thread: int) -> None:
        turn = thread
        try:
            barrier.wait()
            began_s = time.perf_counter()
            ends_s = began_s + seconds
            while time.perf_counter() < ends_s or turn < thread + len(chains):
                member = turn % len(chains)
                passes[member].append(chains[member](rows))
                turn += 1
            per_s.append((turn - thread) / (time.perf_counter() - began_s))
        except Exception as error:  # a thread's end is its caller's business
            errors.append(error)

    workers = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise ServingError(f"the members do not run here on these rows: {errors[0]}") from errors[0]
    return sum(per_s)


def _pass_us(manifest: Manifest, sessions: Mapping[ModelPart, Session], rows: Mapping[str, np.ndarray]) -> list[float]:
    times_us = []

    def run(part: ModelPart, tensors: Tensors) -> Tensors:
        session, names = sessions[part], [tensor.name for tensor in part.outputs]
        began_s = time.perf_counter()
        outputs = session.run(names, tensors)
        times_us.append(1e6 * (time.perf_counter() - began_s))
        return dict(zip(names, outputs, strict=True))

    run_parts(manifest, rows, run, sessions)
    return times_us
