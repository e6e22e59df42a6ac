"""RequestQueue: client requests waiting for a ticket, in order of arrival, bounded, merged as whole requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from exeunt.deciding.request import Request
from exeunt.errors import OverloadedError, RequestError


class RequestQueue:
    """First-in first-out queue of requests.

    Args:
        max_batch_size: most rows of one ticket.
        max_waiting_rows: most rows waiting; newcomers beyond are refused.
    """

    def __init__(self, max_batch_size: int, max_waiting_rows: int) -> None:
        self._max_batch_size = max_batch_size
        self._max_waiting_rows = max_waiting_rows
        self._waiting: deque[Request] = deque()
        self._closed = False
        self.waiting_rows = 0

    def __len__(self) -> int:
        """Requests waiting."""
        return len(self._waiting)

    def offer(self, request: Request) -> None:
        """Queue a request.

        Raises:
            RequestError: no rows, or more than a ticket holds.
            OverloadedError: the queue is full, or the server is stopping.
        """
        if self._closed:
            raise OverloadedError("the server is stopping; come again")
        if not 1 <= request.rows <= self._max_batch_size:
            raise RequestError(f"expected 1 to {self._max_batch_size} rows, got {request.rows}")
        if self.waiting_rows + request.rows > self._max_waiting_rows:
            raise OverloadedError(
                f"{self.waiting_rows} rows are waiting already (max_waiting_rows {self._max_waiting_rows}); come again"
            )
        self._waiting.append(request)
        self.waiting_rows += request.rows

    def close(self) -> None:
        """Refuse newcomers from now on."""
        self._closed = True

    def take(self, most: int | None = None) -> tuple[Request, ...]:
        """The oldest request and those behind it that fit one ticket together with it; empty when nobody waits.

        Args:
            most: requests of one ticket; None = any number.

        Returns:
            requests of equal `free_dims`, in order of arrival. The first that would be too many rows ends it.
        """
        taken: list[Request] = []
        passed_over: list[Request] = []
        rows = 0
        while self._waiting and len(taken) != most and rows + self._waiting[0].rows <= self._max_batch_size:
            request = self._waiting.popleft()
            if taken and request.free_dims != taken[0].free_dims:
                passed_over.append(request)
                continue
            request.first_row = rows
            rows += request.rows
            taken.append(request)
        self._waiting.extendleft(reversed(passed_over))
        self.waiting_rows -= rows
        return tuple(taken)

    def requests(self) -> Iterator[Request]:
        """Everybody who waits, oldest first."""
        return iter(self._waiting)

    def overdue(self, now_us: int) -> list[Request]:
        """Remove and return the requests whose deadline has passed."""
        late = [r for r in self._waiting if r.deadline_us is not None and r.deadline_us <= now_us]
        for request in late:
            self._waiting.remove(request)
            self.waiting_rows -= request.rows
        return late

    def clear(self) -> list[Request]:
        """Remove and return everybody."""
        everybody = list(self._waiting)
        self._waiting.clear()
        self.waiting_rows = 0
        return everybody
