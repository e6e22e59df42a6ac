"""Members in series, members in parallel, members with exits: one caller, batch by batch, in turns.

The comparison of the parallel-bagging work (sum of the members' times against their maximum), with exits beside it. The
loop is closed: one caller who waits. What a model does under load is the business of `exeunt.measuring.load`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np

from exeunt.contract import PROBABILITIES, full_model
from exeunt.deciding.votes import vote
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.measuring.load import LoadRun, RequestOutcome
from exeunt.measuring.summary import Summary, stream_labels, summarise
from exeunt_client.answers import Answers
from exeunt_client.blocking import Client
from exeunt_client.errors import ClientError

SERIES = "members in series"
_WARM_UP = 5
_SETTLE = 1.5  # pause in which NAME finishes answered inputs, in times of the plain ensemble


@dataclass(frozen=True, slots=True)
class BenchLine:
    """One contender at one batch size: `summary.model` is a model's name or SERIES; loss is against NAME_full."""

    batch_rows: int
    summary: Summary


def bench(
    url: str,
    manifest: Manifest,
    inputs: Mapping[str, np.ndarray],
    batch_rows: tuple[int, ...],
    rounds: int,
    truth: np.ndarray | None = None,
    progress: Callable[[int], None] = lambda batch: None,
) -> list[BenchLine]:
    """Measure every member alone, all in series, the plain ensemble, and the early-exit model, in turns.

    Args:
        url: of the server.
        manifest: of the bag; its baseline must have been exported.
        inputs: public input -> [rows, ...], real ones: exits depend on them. Used round by round, from the start again
            when they run out.
        batch_rows: batch sizes, each measured in a run of its own turns.
        rounds: turns per batch size.
        truth: int [rows], true labels.
        progress: called after each turn with its batch size.

    Raises:
        ConfigError: no baseline, fewer inputs than a batch, or a batch above the bag's max_batch_size.
        ServingError: no server answers at the start; later failures are counted.
    """
    rows = min(len(array) for array in inputs.values())
    if any(member.model is None for member in manifest.members):
        raise ConfigError(f"bag {manifest.bag!r} has no baseline; export it with [serving] baseline = true")
    for size in batch_rows:
        if not 1 <= size <= min(rows, manifest.max_batch_size):
            limit = min(rows, manifest.max_batch_size)
            raise ConfigError(f"batch size {size}; allowed: 1 to {limit} (max_batch_size, and inputs given)")
    order = np.random.default_rng(0).permutation(rows)  # files come sorted by class, time or difficulty
    mixed = {name: array[order] for name, array in inputs.items()}
    truth = None if truth is None else truth[order]
    lines = []
    with ExitStack() as stack:
        models = [member.model or "" for member in manifest.members] + [full_model(manifest.bag), manifest.bag]
        clients = {model: stack.enter_context(Client(url, model)) for model in models}
        for size in batch_rows:
            batches = rows // size
            parts = [{name: array[k * size : (k + 1) * size] for name, array in mixed.items()} for k in range(batches)]
            run = _take_turns(clients, manifest, parts, rounds, partial(progress, size))
            full = stream_labels(run.outcomes[full_model(manifest.bag)], size)
            lines += [BenchLine(size, summarise(run, model, size, full=full, truth=truth)) for model in run.outcomes]
    return lines


def _take_turns(
    clients: Mapping[str, Client],
    manifest: Manifest,
    parts: list[dict[str, np.ndarray]],
    rounds: int,
    progress: Callable[[], None],
) -> LoadRun:
    """All turns of one batch size; the contender who begins changes from round to round."""
    members = [member.model or "" for member in manifest.members]
    full, bag = full_model(manifest.bag), manifest.bag
    contenders = [SERIES, full, bag]
    run = LoadRun({name: [] for name in (*members, *contenders)}, dict.fromkeys((*members, *contenders), 0.0))
    for _ in range(_WARM_UP):
        for client in clients.values():
            client.infer(parts[0])
    full_s = 0.0
    for turn in range(rounds):
        part = parts[turn % len(parts)]
        for place in range(len(contenders)):
            contender = contenders[(turn + place) % len(contenders)]
            if contender == SERIES:
                outcomes = _in_series(clients, manifest, part, turn % len(parts))
            else:
                outcomes = {contender: _ask(clients[contender], part, turn % len(parts))}
            for name, outcome in outcomes.items():
                run.outcomes[name].append(outcome)
                run.busy_s[name] += outcome.done_s - outcome.scheduled_s
            if contender == full:
                full_s = outcomes[full].done_s - outcomes[full].scheduled_s
            time.sleep(_SETTLE * full_s if contender == bag else 0.0)
        progress()
    return run


def _ask(client: Client, part: dict[str, np.ndarray], request: int) -> RequestOutcome:
    answers, error = None, ""
    began_s = time.perf_counter()
    try:
        answers = client.infer(part)
    except ClientError as failure:
        error = str(failure)
    return RequestOutcome(request, 0.0, began_s, began_s, time.perf_counter(), answers, error)


def _in_series(
    clients: Mapping[str, Client], manifest: Manifest, part: dict[str, np.ndarray], request: int
) -> dict[str, RequestOutcome]:
    """One member after another, then their vote here; outcomes by member model, and of all under SERIES."""
    began_s = time.perf_counter()
    outcomes = {member.model or "": _ask(clients[member.model or ""], part, request) for member in manifest.members}
    answers = [outcome.answers.probabilities for outcome in outcomes.values() if outcome.answers is not None]
    errors = [outcome.error for outcome in outcomes.values() if outcome.error]
    answer = None
    if not errors:
        mean = vote(answers, [member.weight for member in manifest.members], manifest.vote)
        answer = Answers.from_outputs({PROBABILITIES: mean})
    ended_s = time.perf_counter()
    return {
        **outcomes,
        SERIES: RequestOutcome(request, 0.0, began_s, began_s, ended_s, answer, errors[0] if errors else ""),
    }
