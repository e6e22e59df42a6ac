"""Open-loop load: requests leave on schedule whether or not earlier ones have been answered.

A closed loop slows down together with the server and so hides queueing ("coordinated omission"). Here latency counts
from the *scheduled* arrival: what the generator itself sends late is part of it, and reported.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import numpy as np

from exeunt.measuring.arrivals import Block
from exeunt_client.aio import AsyncClient
from exeunt_client.answers import Answers
from exeunt_client.errors import ClientError
from exeunt_client.options import NO_OPTIONS, RequestOptions

_EARLY_S = 0.002  # event loops wake late by up to a millisecond or two: wake early, then yield until it is time
Progress = Callable[[str, int], None]  # model, requests answered since the last call


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """One request: times in seconds since the run began; `answers` is None where `error` tells why.

    `request` is its position in the stream, `stream_s` its arrival in the stream's own time.
    """

    request: int
    stream_s: float
    scheduled_s: float
    sent_s: float
    done_s: float
    answers: Answers | None
    error: str


@dataclass(slots=True)
class LoadRun:
    """What a run of the load generator saw.

    Attributes:
        outcomes: by model, in order of arrival; requests that failed are among them.
        busy_s: by model, seconds from the start of each of its blocks to its last answer, summed.
        cpu_share: CPU time of this process over the run's wall time; near 1 the generator itself was the bottleneck.
    """

    outcomes: dict[str, list[RequestOutcome]] = field(default_factory=dict)
    busy_s: dict[str, float] = field(default_factory=dict)
    cpu_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is sent.

    Attributes:
        inputs: name -> [requests * rows, ...], the whole stream; request i takes rows [i * rows, (i + 1) * rows).
        rows: rows per request.
        options: by model, what its requests ask of the exits.
        gap_s: silence after each block, in which a model may finish what it has already answered.
        timeout_s: longest wait for one answer.
        warm_up: requests sent to each model, one by one, before anything is measured.
    """

    inputs: Mapping[str, np.ndarray]
    rows: int = 1
    options: Mapping[str, RequestOptions] = field(default_factory=dict)
    gap_s: float = 0.3
    timeout_s: float = 30.0
    warm_up: int = 20

    def request(self, index: int) -> dict[str, np.ndarray]:
        """Inputs of one request."""
        return {name: array[index * self.rows : (index + 1) * self.rows] for name, array in self.inputs.items()}

    @property
    def requests(self) -> int:
        """How many requests the stream holds."""
        return min(len(array) for array in self.inputs.values()) // self.rows


def run_load(
    url: str, traffic: Traffic, blocks: Sequence[Block], progress: Progress = lambda model, n: None
) -> LoadRun:
    """Play `blocks` against a server and wait for every answer.

    Args:
        url: `grpc://HOST:PORT` (less work per request) or `http://HOST:PORT`.
        traffic: what is sent.
        blocks: when and to whom, from `take_turns`.
        progress: called as answers come in.

    Raises:
        RequestError: no such model.
        ServingError: no server answers at the start; later failures are counted in the outcomes.
    """
    return asyncio.run(_run(url, traffic, blocks, progress))


async def _run(url: str, traffic: Traffic, blocks: Sequence[Block], progress: Progress) -> LoadRun:
    run = LoadRun()
    async with AsyncExitStack() as stack:
        clients = {}
        for model in dict.fromkeys(block.model for block in blocks):
            clients[model] = await stack.enter_async_context(AsyncClient(url, model, timeout_s=traffic.timeout_s))
            run.outcomes[model], run.busy_s[model] = [], 0.0
        for model, client in clients.items():
            for index in range(min(traffic.warm_up, traffic.requests)):
                await client.infer(traffic.request(index), traffic.options.get(model, NO_OPTIONS))
        await asyncio.sleep(traffic.gap_s)
        begin_s, cpu_s = time.perf_counter(), time.process_time()
        for block in blocks:
            outcomes = await _play(clients[block.model], traffic, block, begin_s, progress)
            run.outcomes[block.model] += outcomes
            start_s = outcomes[0].scheduled_s - block.offsets_s[0]
            run.busy_s[block.model] += max(outcome.done_s for outcome in outcomes) - start_s
            await asyncio.sleep(traffic.gap_s)
        run.cpu_share = (time.process_time() - cpu_s) / (time.perf_counter() - begin_s)
    return run


async def _play(
    client: AsyncClient, traffic: Traffic, block: Block, begin_s: float, progress: Progress
) -> list[RequestOutcome]:
    """Send a block's requests on schedule and wait for all of their answers."""
    start_s = time.perf_counter() + _EARLY_S - begin_s
    options = traffic.options.get(block.model, NO_OPTIONS)

    async def send(index: int, offset_s: float) -> RequestOutcome:
        sent_s = time.perf_counter() - begin_s
        answers, error = None, ""
        try:
            answers = await client.infer(traffic.request(index), options)
        except ClientError as failure:
            error = str(failure)
        done_s = time.perf_counter() - begin_s
        progress(block.model, 1)
        return RequestOutcome(index, block.stream_s + offset_s, start_s + offset_s, sent_s, done_s, answers, error)

    async with asyncio.TaskGroup() as group:
        tasks = []
        for index, offset_s in zip(block.requests.tolist(), block.offsets_s.tolist(), strict=True):
            await _until(begin_s + start_s + offset_s)
            tasks.append(group.create_task(send(index, offset_s)))
    return [task.result() for task in tasks]


async def _until(moment_s: float) -> None:
    """Wait for a moment of `time.perf_counter`, to a fraction of a millisecond."""
    left_s = moment_s - time.perf_counter()
    if left_s > _EARLY_S:
        await asyncio.sleep(left_s - _EARLY_S)
    while time.perf_counter() < moment_s:
        await asyncio.sleep(0)  # answers are read meanwhile
