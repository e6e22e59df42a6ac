"""The outstanding calls of NAME_bag: which votes this process asked for, and what proves that a tap answers it.

Any client can call NAME_exit and NAME_bag, and Triton cannot forbid it. So each call carries a secret in the tensor
TICKET, which the ensemble hands on to its taps. Votes are taken only under a secret of a call that is under way, only
those that the call asked for, and each once. The secret is void when the call has ended. It is never logged. Where the
controller holds the ramps' heads, the same holds for features.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from exeunt.bag_stages import Pair, tap_tensors
from exeunt.deciding.ticket import Ticket
from exeunt.hosting.calls.failure_address import LONGEST_TEXT, address_before_word
from exeunt.manifest import Manifest, Tensor

SECRET_BITS = 62  # a positive int64
PAST_WORDS = 1000  # calls whose steps may still report, when one has been given up
Brought = dict[Pair, np.ndarray]  # float32 [rows, classes], of ramps whose heads the controller holds [rows, f]


def draw_secret() -> int:
    """A number that nobody can guess, from the operating system's source."""
    return secrets.randbits(SECRET_BITS)


class RefusedTapError(Exception):
    """Votes that no call asked for; the text says why, without the secret."""


@dataclass(slots=True)
class BagCall:
    """One call of NAME_bag.

    Attributes:
        rows: how many rows its votes have.
        expected: (member, depth) of what has not come yet.
        ticket: whose votes are passed on at once, with the heads that it was admitted with; None: the caller takes
            them from `brought`.
        ticket_rows: indices of the ticket's rows that it runs; None = all.
        brought: what came.
        passing: work on what came that may not have been passed on yet; see heads_at_taps.
        cut_rows: indices of its rows whose cut tensors it brought back when it ended; None: of none.
        cuts: these, by name.
        word: of its steps' reports; None where nobody has asked for an address of theirs.
        failure: what a step of it reported.
        void: (member, depth) of what can no longer come, for a step before it has failed; what comes is not taken.
    """

    rows: int
    expected: set[Pair]
    ticket: Ticket | None = None
    ticket_rows: np.ndarray | None = None
    brought: Brought = field(default_factory=dict)
    passing: list[Future[None]] = field(default_factory=list)
    cut_rows: np.ndarray | None = None
    cuts: Mapping[str, np.ndarray] = field(default_factory=dict)
    word: int | None = None
    failure: str | None = None
    void: set[Pair] = field(default_factory=set)


@dataclass(slots=True)
class BagCalls:
    """The calls that are under way, by secret; safe to share between threads.

    Attributes:
        refused: taps and reports that were refused since start.
        failed_steps: that were reported since start.
    """

    manifest: Manifest
    draw: Callable[[], int] = draw_secret
    refused: int = 0
    failed_steps: int = 0
    _tensors: dict[Pair, Tensor] = field(init=False)
    _before_word: str = field(init=False)
    _calls: dict[int, BagCall] = field(default_factory=dict)
    _words: dict[int, BagCall] = field(default_factory=dict)  # of those whose steps may report
    _past_words: deque[int] = field(default_factory=lambda: deque(maxlen=PAST_WORDS))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._tensors = tap_tensors(self.manifest)
        self._before_word = address_before_word(self.manifest.bag)

    def open(
        self, rows: int, pairs: Iterable[Pair], ticket: Ticket | None = None, ticket_rows: np.ndarray | None = None
    ) -> int:
        """A call is about to be made; see BagCall.

        Args:
            rows: that it runs.
            pairs: (member, depth) of what its taps send.
            ticket: whose votes are passed on at once; None collects them.
            ticket_rows: indices of the ticket's rows that run; None = all.

        Returns:
            the secret, to be sent in TICKET.
        """
        call = BagCall(rows, set(pairs), ticket, ticket_rows)
        with self._lock:
            secret = self._new_number(self._calls)
            self._calls[secret] = call
        return secret

    def _new_number(self, numbers: Mapping[int, BagCall]) -> int:
        while (number := self.draw()) in numbers:
            pass
        return number

    def close(self, secret: int) -> BagCall:
        """The call has ended: its secret is void."""
        with self._lock:
            call = self._calls.pop(secret)
            if call.word is not None:
                del self._words[call.word]
                self._past_words.append(call.word)
        return call

    def address(self, secret: int) -> str | None:
        """Where steps of a call report that they failed; None where the call has been given up meanwhile."""
        with self._lock:
            call = self._calls.get(secret)
            if call is None:
                return None
            if call.word is None:
                call.word = self._new_number(self._words)
                self._words[call.word] = call
        return f"{self._before_word}{call.word}"

    def report(self, ticket: np.ndarray, text: object, model: object) -> None:
        """A step of a call has failed: what depends on it is not taken any more. Nobody minds one of a past call.

        Args:
            ticket: the tensor TICKET with the word of the call, int64 [1, 1].
            text: what went wrong, or what a stranger sends in its place.
            model: the step's.

        Raises:
            RefusedTapError: no call has this word, or it is no text; counted.
        """
        with self._lock:
            word = int(ticket.flat[0]) if ticket.dtype == np.int64 and ticket.size == 1 else None
            call = None if word is None else self._words.get(word)
            if not isinstance(text, str) or (call is None and word not in self._past_words):
                self.refused += 1
                raise RefusedTapError("neither votes nor a report of a call of ours")
            self.failed_steps += 1
            if call is None:
                return
            call.failure = call.failure or text[:LONGEST_TEXT]
            call.void |= self._behind(model)

    def _behind(self, model: object) -> set[Pair]:
        """What depends on a segment; all, where the model is none."""
        for number, member in enumerate(self.manifest.members):
            for depth, segment in enumerate(member.segments, start=1):
                if segment.model == model:
                    return {pair for pair in self._tensors if pair[0] == number and pair[1] >= depth}
        return set(self._tensors)

    def take(self, ticket: np.ndarray, votes: Mapping[Pair, np.ndarray]) -> tuple[BagCall, Brought]:
        """What a tap brings, as it arrived.

        Args:
            ticket: the tensor TICKET, int64 [rows, 1].
            votes: (member, depth) -> float32 [rows, classes], of ramps whose heads the controller holds [rows, f], in
                memory that is the server's; features may be anything but of another shape.

        Returns:
            the call, and copies of what is new; empty where other taps brought it all before, or it is void.

        Raises:
            RefusedTapError: no call under way asked for this; counted.
        """
        with self._lock:
            try:
                call = self._call_of(ticket)
                self._check(call, votes)
            except RefusedTapError:
                self.refused += 1
                raise
            expected = call.expected - call.void if call.void else call.expected
            fresh = {pair: array.copy() for pair, array in votes.items() if pair in expected}
            call.expected.difference_update(fresh)
            call.brought.update(fresh)
        return call, fresh

    def _call_of(self, ticket: np.ndarray) -> BagCall:
        if ticket.dtype != np.int64 or ticket.ndim != 2 or ticket.shape[1] != 1 or not len(ticket):
            raise RefusedTapError(f"TICKET: expected int64 [rows, 1], got {ticket.dtype} {list(ticket.shape)}")
        call = self._calls.get(int(ticket[0, 0]))
        if call is None or (ticket != ticket[0, 0]).any():
            raise RefusedTapError("TICKET is not one of a call that is under way")
        if len(ticket) != call.rows:
            raise RefusedTapError(f"TICKET: expected {call.rows} rows, got {len(ticket)}")
        return call

    def _check(self, call: BagCall, votes: Mapping[Pair, np.ndarray]) -> None:
        if not votes:
            raise RefusedTapError("no votes")
        for pair, array in votes.items():
            tensor = self._tensors[pair]
            shape = (call.rows, *tensor.dims)
            if array.dtype != np.dtype(tensor.dtype) or array.shape != shape:
                raise RefusedTapError(
                    f"{tensor.name}: expected {tensor.dtype} {list(shape)}, got {array.dtype} {list(array.shape)}"
                )
