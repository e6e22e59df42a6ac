"""Mixed calls at twice what a server can do, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from benchmarks.stress.bag import GOLD, Votes
from benchmarks.stress.calls import Call, answer_of, message

SIZES = (1, 1, 1, 1, 2, 4, 8, 16)  # rows of a call, each as likely
GOLD_SHARE, DEADLINE_SHARE, CANCELLED_SHARE = 0.3, 0.2, 0.05
DEADLINE_MS = (20.0, 500.0)
CANCELLED_AFTER_S = 0.3  # at the latest
EXPECTED = ("OK", "UNAVAILABLE", "CANCELLED")


def mixed_calls(votes: Votes, rate_per_s: float, seconds: float, seed: int, starts_s: float = 0.0) -> Iterator[Call]:
    """Calls of several sizes and both classes of service, with deadlines and cancellations, as a Poisson stream.

    Args:
        votes: holds the rows.
        rate_per_s: calls.
        seconds: until the last.
        seed: of all chance.
        starts_s: when the first is due.
    """
    rng = np.random.default_rng(seed)
    due_s = starts_s
    while (due_s := due_s + rng.exponential(1.0 / rate_per_s)) < starts_s + seconds:
        pool_rows = rng.choice(len(votes.rows), size=SIZES[rng.integers(len(SIZES))], replace=False)
        wishes: dict[str, str | float] = {}
        if rng.random() < GOLD_SHARE:
            wishes["service_class"] = GOLD
        if rng.random() < DEADLINE_SHARE:
            wishes["deadline_ms"] = float(rng.uniform(*DEADLINE_MS))
        cancelled = rng.random() < CANCELLED_SHARE
        after_s = float(rng.uniform(0.0, CANCELLED_AFTER_S)) if cancelled else None
        yield Call(due_s, message(votes.rows[pool_rows], **wishes), pool_rows, after_s)


@dataclass
class Tally:
    """What became of calls; every call is looked at once, when it has ended.

    Attributes:
        votes: what right answers are.
        calls_by_status: calls by how they ended.
        sent: how many were sent.
        rows_answered: rows of all answers.
        rows_cancelled: rows of calls that were given up: the server may have answered them.
        wrong_rows: rows that were not the vote at their exit.
        odd: texts of errors that nobody expects.
        times: (due, latency) of every answer, seconds.
    """

    votes: Votes
    calls_by_status: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    rows_answered: int = 0
    rows_cancelled: int = 0
    wrong_rows: int = 0
    odd: Counter[str] = field(default_factory=Counter)
    times: list[tuple[float, float]] = field(default_factory=list)

    def add(self, call: Call) -> None:
        """Look at a call that has ended, and let go of what it held."""
        self.calls_by_status[call.status] += 1
        if call.status == "OK":
            answer = answer_of(call.answer)
            self.rows_answered += len(call.pool_rows)
            self.wrong_rows += self.votes.wrong_rows(
                call.pool_rows, answer["PROBABILITIES"], answer["LABEL"], answer["EXIT"]
            )
            self.times.append((call.due_s, call.latency_s))
        elif call.status == "CANCELLED":
            self.rows_cancelled += len(call.pool_rows)
        elif call.status not in EXPECTED:
            self.odd[f"{call.status}: {call.text[:200]}"] += 1
        call.answer = call.content = b""

    @property
    def lost(self) -> int:
        """Calls that never ended, or whose caller's patience did."""
        return self.sent - sum(self.calls_by_status.values()) + self.calls_by_status["DEADLINE_EXCEEDED"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of a soak.

    Attributes:
        minutes: of mixed calls at twice what the server can do.
        able_per_s: mixed calls that 16 callers had answered in a second, one after the other.
        sent: calls.
        answered: calls.
        refused: calls that were told to come again.
        cancelled: calls.
        lost: calls that were never answered.
        doubled_rows: rows that the server answered beyond those that somebody got or had given up.
        wrong_rows: of all answers.
        odd: errors that nobody expects, with how often.
        p99_before_ms: at a fifth of what the server can do, before; the worst of its windows.
        p99_after_ms: window by window, after the load fell to a fifth.
        memory_mb: by process: after the warm-up, half way from there, and at the end.
        memory_by_minute_mb: by process, medians of every minute.
    """

    minutes: float
    able_per_s: float
    sent: int
    answered: int
    refused: int
    cancelled: int
    lost: int
    doubled_rows: int
    wrong_rows: int
    odd: dict[str, int]
    p99_before_ms: float
    p99_after_ms: list[float]
    memory_mb: dict[str, list[float]]
    memory_by_minute_mb: dict[str, list[float]]

    def to_mapping(self) -> dict[str, object]:
        """As a table."""
        return asdict(self)


def p99s_ms(times: Sequence[tuple[float, float]], starts_s: float, windows: int, window_s: float) -> list[float]:
    """p99 of the answers that were due in each window, milliseconds; NaN for a window without any."""
    due_s, latency_s = np.array(times).reshape(-1, 2).T
    p99_ms = []
    for number in range(windows):
        begin_s = starts_s + number * window_s
        inside = latency_s[(due_s >= begin_s) & (due_s < begin_s + window_s)]
        p99_ms.append(1e3 * float(np.percentile(inside, 99)) if len(inside) else float("nan"))
    return p99_ms
