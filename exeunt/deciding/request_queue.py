"""RequestQueue: client requests that wait for a ticket, bounded in rows and in time, fair between classes of service.

Fair: classes take turns by rows served (weighted fair queueing with equal weights), and of `max_waiting_rows` an equal
share is kept for each class in use. In time: a newcomer that could not be begun within `max_wait_us`, by the rate at
which rows were begun of late, is refused at once. If requests got old nevertheless (a stall), the newest are served
first, as adaptive LIFO does: their callers are still there. What has waited nearly twice as long as it may is given up.

Pure: time is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from exeunt.deciding.request import Request
from exeunt.errors import OverloadedError, RequestError

IN_USE_US = 10_000_000  # a class without requests for so long keeps no room
RATE_HALF_LIFE_US = 1_000_000.0  # of the service rate: older rows count less
GIVE_UP = 1.8  # times max_wait_us, after which a request is given up: by default within a second
NO_BOUND_US = 10**15


class ServiceRate:
    """Rows begun per microsecond of late, while rows were waiting."""

    def __init__(self) -> None:
        self._rows = 0.0
        self._busy_us = 0.0
        self._since_us: int | None = None  # when rows began to wait, or were last begun while others waited

    def waiting(self, now_us: int) -> None:
        """Rows wait."""
        if self._since_us is None:
            self._since_us = now_us

    def begun(self, rows: int, now_us: int, more: bool) -> None:
        """Rows were begun; `more` says whether others wait."""
        busy_us = max(0, now_us - (now_us if self._since_us is None else self._since_us))
        decay = 0.5 ** (busy_us / RATE_HALF_LIFE_US)
        self._rows = decay * self._rows + rows
        self._busy_us = decay * self._busy_us + busy_us
        self._since_us = now_us if more else None

    def nobody_waits(self) -> None:
        """Those who waited have left without having been begun."""
        self._since_us = None

    def wait_us(self, rows: int, now_us: int) -> float:
        """Time until so many rows will have been begun; 0 before anything is known."""
        stalled_us = 0 if self._since_us is None else max(0, now_us - self._since_us)
        return rows * (self._busy_us + stalled_us) / self._rows if self._rows else 0.0


class RequestQueue:
    """Requests by class of service.

    Args:
        max_batch_size: most rows of one ticket.
        max_waiting_rows: most rows waiting; newcomers beyond are refused.
        max_wait_us: longest time that a newcomer may be expected to wait.
        classes: number of classes of service.
    """

    def __init__(
        self, max_batch_size: int, max_waiting_rows: int, max_wait_us: float = NO_BOUND_US, classes: int = 1
    ) -> None:
        self.waiting_rows = 0
        self._max_batch_size = max_batch_size
        self._max_waiting_rows = max_waiting_rows
        self._max_wait_us = max_wait_us
        self._classes: list[deque[Request]] = [deque() for _ in range(classes)]
        self._rows = [0] * classes  # waiting, by class
        self._served = [0] * classes  # rows served, by class, on the scale of `_turn`
        self._turn = 0  # `_served` of the class that was served last, before that
        self._last_used_us = [-IN_USE_US - 1] * classes
        self._with_deadline = 0
        self._rate = ServiceRate()
        self._closed = False

    def __len__(self) -> int:
        """Requests waiting."""
        return sum(map(len, self._classes))

    def offer(self, request: Request, now_us: int) -> None:
        """Queue a request.

        Raises:
            RequestError: no rows, or more than a ticket holds.
            OverloadedError: the queue is full, it would wait too long, or the server is stopping.
        """
        if self._closed:
            raise OverloadedError("the server is stopping; come again")
        if not 1 <= request.rows <= self._max_batch_size:
            raise RequestError(f"expected 1 to {self._max_batch_size} rows, got {request.rows}")
        number = request.options.service_class
        self._last_used_us[number] = now_us
        self._check_room(number, request.rows, now_us)
        self._check_time(number, now_us)
        if not self._rows[number]:
            self._served[number] = max(self._served[number], self._turn)  # a class that was away has no credit
        request.arrived_us = now_us
        self._classes[number].append(request)
        self._count(request, 1)
        self._rate.waiting(now_us)

    def _check_room(self, number: int, rows: int, now_us: int) -> None:
        room = self._max_waiting_rows - self._rows[number]
        for other, waiting in enumerate(self._rows):
            if other != number:
                in_use = now_us - self._last_used_us[other] <= IN_USE_US
                room -= max(waiting, self._max_waiting_rows // len(self._rows) if in_use else 0)
        if rows > room:
            raise OverloadedError(
                f"{self.waiting_rows} rows are waiting already (max_waiting_rows {self._max_waiting_rows}); come again"
            )

    def _check_time(self, number: int, now_us: int) -> None:
        busy = sum(1 for other, rows in enumerate(self._rows) if rows or other == number)
        ahead = min(self.waiting_rows, self._rows[number] * busy)
        wait_us = self._rate.wait_us(ahead, now_us)
        if wait_us > self._max_wait_us:
            raise OverloadedError(
                f"it would wait {wait_us / 1000:.0f} ms (max_wait_ms {self._max_wait_us / 1000:g}); come again"
            )

    def close(self) -> None:
        """Refuse newcomers from now on."""
        self._closed = True

    def take(self, now_us: int, most: int | None = None, most_rows: int | None = None) -> tuple[Request, ...]:
        """The request whose turn it is and those behind it that fit one ticket together with it.

        Args:
            now_us: the time.
            most: requests of one ticket; None = any number.
            most_rows: of a ticket of several requests; None = as many as a batch holds.

        Returns:
            requests of equal `free_dims`, in the order of their turns, up to the first that would make too many rows.
            Empty when nobody waits.
        """
        ticket_requests: list[Request] = []
        passed_over: list[tuple[Request, bool]] = []  # their free dimensions differ; taken from the newest end?
        rows = 0
        room = self._max_batch_size if most_rows is None else min(most_rows, self._max_batch_size)
        while len(ticket_requests) != most and (number := self._next_class()) is not None:
            newest = now_us - self._classes[number][0].arrived_us > self._max_wait_us
            request = self._classes[number][-1 if newest else 0]
            if ticket_requests and rows + request.rows > room:
                break
            self._classes[number].pop() if newest else self._classes[number].popleft()
            self._count(request, -1)
            if ticket_requests and request.free_dims != ticket_requests[0].free_dims:
                passed_over.append((request, newest))
                continue
            request.row_slice = slice(rows, rows + request.rows)
            rows += request.rows
            ticket_requests.append(request)
            self._turn = self._served[number]
            self._served[number] += request.rows
        for request, newest in reversed(passed_over):
            requests = self._classes[request.options.service_class]
            requests.append(request) if newest else requests.appendleft(request)
            self._count(request, 1)
        if ticket_requests:
            self._rate.begun(rows, now_us, more=self.waiting_rows > 0)
        return tuple(ticket_requests)

    def _next_class(self) -> int | None:
        """Class of those that wait which has been served least."""
        if len(self._classes) == 1:
            return 0 if self._classes[0] else None
        waiting = [number for number, requests in enumerate(self._classes) if requests]
        return min(waiting, key=self._served.__getitem__) if waiting else None

    def _count(self, request: Request, sign: int) -> None:
        self._rows[request.options.service_class] += sign * request.rows
        self.waiting_rows += sign * request.rows
        if request.options.deadline_us is not None:
            self._with_deadline += sign

    def requests(self) -> Iterator[Request]:
        """Everybody who waits; within a class the oldest first."""
        return chain.from_iterable(self._classes)

    def next_deadline_us(self) -> int | None:
        """Earliest deadline of anybody who waits, or None."""
        if not self._with_deadline:
            return None
        return min(r.deadline_us for r in self.requests() if r.deadline_us is not None)

    def overdue(self, now_us: int) -> list[Request]:
        """Remove and return the requests whose deadline has passed."""
        if not self._with_deadline:
            return []
        late = [r for r in self.requests() if r.deadline_us is not None and r.deadline_us <= now_us]
        for request in late:
            self.withdraw(request)
        return late

    def given_up(self, now_us: int) -> list[Request]:
        """Remove and return the requests that have waited too long to be worth beginning."""
        late: list[Request] = []
        for requests in self._classes:
            while requests and now_us - requests[0].arrived_us > GIVE_UP * self._max_wait_us:
                late.append(requests[0])
                self.withdraw(requests[0])
        return late

    def withdraw(self, request: Request) -> None:
        """Remove a request that waits."""
        self._classes[request.options.service_class].remove(request)
        self._count(request, -1)
        if not self.waiting_rows:
            self._rate.nobody_waits()

    def clear(self) -> list[Request]:
        """Remove and return everybody."""
        everybody = list(self.requests())
        for request in everybody:
            self.withdraw(request)
        return everybody
