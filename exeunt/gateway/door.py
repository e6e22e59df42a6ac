"""A bag's door: it bounds the rows in the server; all other requests wait here, where callers that leave are seen.

The server does not see that a caller has given up, nor how long a request has waited in it before the controller took
it. So its queue is kept short, and the waiting is done here, by the controller's own rules (RequestQueue): bounded in
rows and time, fair between classes of service, the newest first after a stall.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from exeunt.deciding.admission import max_wait_us_of
from exeunt.deciding.request import ParsedOptions, Request
from exeunt.deciding.request_queue import GIVE_UP, RequestQueue
from exeunt.errors import OverloadedError
from exeunt.gateway.fastest import FastestAnswers
from exeunt.manifest import Manifest

Found = TypeVar("Found")


class Door:
    """The way to the public models of one bag. To be used from one event loop.

    Args:
        manifest: the bag.
        clock_us: gives the time.
        max_outstanding: rows that are with the server at once (by less than one request more); 0 = two full batches,
            and at least two for each of its tickets.

    Attributes:
        calls: that wait here or are with the server.
    """

    def __init__(self, manifest: Manifest, clock_us: Callable[[], int], max_outstanding: int = 0) -> None:
        self.settings = settings = manifest.settings
        self.calls = 0
        self._max_rows = manifest.max_batch_size
        self._max_outstanding = max_outstanding or 2 * max(settings.max_tickets, manifest.max_batch_size)
        self._patience_s = GIVE_UP * max_wait_us_of(manifest) / 1e6
        self._queue = RequestQueue(
            manifest.max_batch_size,
            settings.max_waiting_rows,
            max_wait_us_of(manifest),
            len(settings.classes_of_service),
        )
        self._clock_us = clock_us
        self._outstanding = 0
        self._fastest = FastestAnswers()
        self._waiting: set[asyncio.Future[None]] = set()  # turns of those who are in the queue
        self._tasks: set[asyncio.Task[Any]] = set()

    async def enter(self, rows: int, options: ParsedOptions, leaves_us: int = 0) -> tuple[Request, int]:
        """Wait for the request's turn; where it is cancelled before, the server has not seen it.

        Args:
            rows: that the caller says it brings; the server will count them.
            options: what it asked for; its deadline and class of service count here.
            leaves_us: after which nobody waits for the answer; 0 = unknown.

        Returns:
            the request, for `send`, and how long it has waited, in microseconds.

        Raises:
            OverloadedError: it cannot be begun in time, or not be answered before its caller leaves.
        """
        came_us = self._clock_us()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        request = Request(turn, min(max(rows, 1), self._max_rows), options)
        patience_s = (
            self._patience_s if options.deadline_us is None else min(self._patience_s, options.deadline_us / 1e6)
        )
        if leaves_us:
            left_us = leaves_us - self._fastest.least_us(request.rows, came_us)
            if left_us <= 0 and not self._fastest.is_trial(came_us):
                raise OverloadedError(f"no answer can be hoped for within {leaves_us / 1000:g} ms; come again")
            patience_s = min(patience_s, max(left_us, 0) / 1e6)
        self._queue.offer(request, came_us)
        self.calls += 1
        self._waiting.add(turn)
        self._let_in()
        if turn.done():
            return request, 0
        try:
            async with asyncio.timeout(patience_s):
                await turn
        except BaseException as error:
            self._withdraw(request, turn)
            if isinstance(error, TimeoutError):
                waited_ms = (self._clock_us() - came_us) / 1000
                raise OverloadedError(f"not begun within {waited_ms:.0f} ms at the gateway; come again") from None
            raise
        return request, self._clock_us() - came_us

    def send(
        self, request: Request, work: Coroutine[Any, Any, Found], answers: Callable[[Found], bool]
    ) -> asyncio.Task[Found]:
        """Begin a call of the server for a request whose turn has come.

        The call goes on when its caller leaves (await the task with `asyncio.shield`), and keeps its place until it
        ends: the server would go on with it anyway, and Triton before 25.05 may end where an answer meets its caller's
        cancellation.

        Args:
            request: whose turn has come.
            work: the call.
            answers: whether what it returns is a good answer, which tells how quick the server is.
        """
        begun_us = self._clock_us()
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(request, begun_us, ended, answers))
        return task

    def close(self) -> None:
        """Refuse newcomers from now on."""
        self._queue.close()

    def _let_in(self) -> None:
        while self._outstanding < self._max_outstanding:
            requests = self._queue.take(self._clock_us(), most=1)
            if not requests:
                return
            (request,) = requests
            turn = request.key
            assert isinstance(turn, asyncio.Future)
            self._waiting.discard(turn)
            if not turn.cancelled():
                self._outstanding += request.rows
                turn.set_result(None)

    def _withdraw(self, request: Request, turn: asyncio.Future[None]) -> None:
        """A caller has gone while it waited here."""
        self.calls -= 1
        if turn in self._waiting:
            self._waiting.discard(turn)
            self._queue.withdraw(request)
        elif not turn.cancelled():  # its turn had come just then
            self._free(request)

    def _free(self, request: Request) -> None:
        self._outstanding -= request.rows
        self._let_in()

    def _ended(
        self, request: Request, begun_us: int, task: asyncio.Task[Found], answers: Callable[[Found], bool]
    ) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is None and answers(task.result()):
            now_us, limit_us = self._clock_us(), request.options.deadline_us
            if limit_us is None or now_us - begun_us < limit_us:  # else it was the deadline that was so quick
                self._fastest.note(request.rows, now_us - begun_us, now_us)
        self.calls -= 1
        self._free(request)
