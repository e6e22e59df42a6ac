"""Answers in parts: rows that have left are fetched at once, what is left by asking again.

NAME_stream asks the exit controller for the first rows, then goes on with the name that came with them, until nothing
is left. The name (REST) is a secret that nobody can guess: whoever knows it gets the answers. A caller that does not
come back for a minute is forgotten.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields

import numpy as np

from exeunt.deciding.request import AnswerArrays, Release
from exeunt.errors import ExeuntError, OverloadedError, RequestError

MOST_STREAMS = 1024
FORGOTTEN_AFTER_US = 60_000_000
NOTHING_LEFT = 0  # as a name


@dataclass(eq=False, slots=True)
class Stream:
    """One request that is answered in parts; the key of its releases.

    Attributes:
        name: by which its caller asks for more.
        caller: who waits for the next rows; None while nobody does.
        parts: releases that have not been fetched.
        touched_us: when somebody last asked.
    """

    name: int
    caller: Hashable | None
    touched_us: int
    parts: deque[Release] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class StreamPart:
    """What a caller gets: rows with their answer, or an error.

    Attributes:
        caller: who.
        answer: of `rows`; None where there is an error.
        rows: int64, indices of the request's rows.
        rest: name of what is left; NOTHING_LEFT after the last part.
        error: of all rows that were not answered.
    """

    caller: Hashable
    answer: AnswerArrays | None = None
    rows: np.ndarray | None = None
    rest: int = NOTHING_LEFT
    error: ExeuntError | None = None


class Streams:
    """The requests that are answered in parts; safe to share between threads.

    Args:
        deliver: takes every StreamPart exactly once; called from any thread, never under the lock.
        draw: makes a secret above 0.
        now_us: the clock.
    """

    def __init__(
        self,
        deliver: Callable[[StreamPart], None],
        draw: Callable[[], int],
        now_us: Callable[[], int],
        most: int = MOST_STREAMS,
    ) -> None:
        self._deliver = deliver
        self._draw = draw
        self._now_us = now_us
        self._most = most
        self._streams: dict[int, Stream] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Streams of which something is left."""
        return len(self._streams)

    def begin(self, caller: Hashable) -> Stream:
        """A caller's request will be answered in parts.

        Raises:
            OverloadedError: too many streams are open.
        """
        with self._lock:
            now_us = self._now_us()
            for stream in list(self._streams.values()):
                if stream.caller is None and now_us - stream.touched_us > FORGOTTEN_AFTER_US:
                    del self._streams[stream.name]
            if len(self._streams) >= self._most:
                raise OverloadedError(f"{self._most} streams are open already; come again")
            name = self._draw()
            while name in self._streams or name == NOTHING_LEFT:
                name = self._draw()
            stream = self._streams[name] = Stream(name, caller, now_us)
        return stream

    def end(self, stream: Stream) -> None:
        """A stream was refused: it never began."""
        with self._lock:
            self._streams.pop(stream.name, None)

    def go_on(self, name: int, caller: Hashable) -> None:
        """A caller asks for what is left.

        Raises:
            RequestError: nothing of that name is left, or somebody waits for it already.
        """
        with self._lock:
            stream = self._streams.get(name)
            if stream is None:
                raise RequestError("REST: nothing of that name is left, or nobody asked for it for a minute")
            if stream.caller is not None:
                raise RequestError("REST: somebody waits for the next rows of that stream already")
            stream.caller, stream.touched_us = caller, self._now_us()
            part = self._next(stream)
        if part is not None:
            self._deliver(part)

    def released(self, release: Release) -> None:
        """Some rows of a stream have left; `release.key` is the stream."""
        assert isinstance(release.key, Stream)
        with self._lock:
            stream = release.key
            stream.parts.append(release)
            part = self._next(stream)
        if part is not None:
            self._deliver(part)

    def _next(self, stream: Stream) -> StreamPart | None:
        """All rows that have left since the last part, for whoever waits."""
        if stream.caller is None or not stream.parts:
            return None
        caller, stream.caller = stream.caller, None
        if stream.parts[0].error is not None:
            self._streams.pop(stream.name, None)
            return StreamPart(caller, error=stream.parts.popleft().error)
        parts = []
        while stream.parts and stream.parts[0].error is None:
            parts.append(stream.parts.popleft())
        if parts[-1].last:
            self._streams.pop(stream.name, None)
        rows = np.concatenate([part.rows for part in parts if part.rows is not None])
        return StreamPart(caller, _joined(parts), rows, NOTHING_LEFT if parts[-1].last else stream.name)


def _joined(parts: list[Release]) -> AnswerArrays:
    answers = [part.answer for part in parts if part.answer is not None]
    if len(answers) == 1:
        return answers[0]
    names = (column.name for column in fields(AnswerArrays))
    return AnswerArrays(*(np.concatenate([getattr(answer, name) for answer in answers]) for name in names))
