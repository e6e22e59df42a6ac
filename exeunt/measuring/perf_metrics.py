"""What the exit controller counted during a load test, from Triton's metrics endpoint."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass

from exeunt.errors import ServingError

FLUSH_S = 1.5  # the controller updates its metrics about once a second

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Exits:
    """What happened to the rows of one bag.

    Attributes:
        answers: (exit, reason) -> rows answered.
        losses: rows that left early and differed from the full vote, each counted 1/q.
        abandoned: early rows whose full vote never came.
        refused: client requests refused.
        errors: client requests that got an error.
    """

    answers: dict[tuple[int, str], float]
    losses: float
    abandoned: float
    refused: float
    errors: float

    @property
    def rows(self) -> float:
        """Rows answered."""
        return sum(self.answers.values())

    @property
    def loss(self) -> float:
        """Share of rows under the promise that were losses; 0 without rows."""
        counted = sum(n for (_, reason), n in self.answers.items() if reason in ("full", "early", "lossless"))
        return (self.losses + self.abandoned) / counted if counted else 0.0

    def shares(self) -> dict[str, float]:
        """Exit number as text -> share of rows answered there."""
        by_exit: Counter[int] = Counter()
        for (exit_, _), rows in self.answers.items():
            by_exit[exit_] += rows  # type: ignore[assignment]
        return {str(exit_): rows / self.rows for exit_, rows in sorted(by_exit.items())} if self.rows else {}

    def __sub__(self, earlier: Exits) -> Exits:
        """What happened since `earlier`."""
        answers = {key: rows - earlier.answers.get(key, 0.0) for key, rows in self.answers.items()}
        return Exits(
            answers,
            self.losses - earlier.losses,
            self.abandoned - earlier.abandoned,
            self.refused - earlier.refused,
            self.errors - earlier.errors,
        )


def scrape(url: str) -> str:
    """Text of a metrics endpoint.

    Raises:
        ServingError: it does not answer.
    """
    try:
        with urllib.request.urlopen(url, timeout=5.0) as response:
            return str(response.read().decode())
    except (urllib.error.URLError, OSError) as error:
        raise ServingError(f"{url}: {error}") from None


def parse(text: str) -> dict[tuple[str, Labels], float]:
    """Prometheus text format -> value by name and sorted labels."""
    from prometheus_client.parser import text_string_to_metric_families

    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def exits_of(text: str, bag: str) -> Exits:
    """What the controller of `bag` has counted since its start; all 0 where it has counted nothing yet."""
    answers: dict[tuple[int, str], float] = {}
    totals: Counter[str] = Counter()
    for (family, labels), value in parse(text).items():
        named = dict(labels)
        if named.get("bag") != bag:
            continue
        if family == "exeunt_answers_total":
            answers[int(named["exit"]), named["reason"]] = value
        else:
            totals[family] += value  # type: ignore[assignment]
    return Exits(
        answers,
        *(float(totals[f"exeunt_{name}_total"]) for name in ("losses", "abandoned_rows", "refused", "errors")),
    )
