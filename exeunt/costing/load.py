"""Loads: how many requests a second, over time."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exeunt.errors import ConfigError
from exeunt.reading import reading

DIURNAL_SWING = 0.9  # the busiest hour has 1.9 times the mean rate, the quietest a tenth of it


@dataclass(frozen=True, slots=True)
class Load:
    """A rate in steps.

    Attributes:
        step_s: length of every step.
        rates_per_s: float64 [steps].
    """

    step_s: float
    rates_per_s: np.ndarray

    @property
    def seconds(self) -> float:
        """Of the whole load."""
        return self.step_s * len(self.rates_per_s)

    @property
    def answers(self) -> float:
        """Expected number of requests."""
        return float(self.step_s * self.rates_per_s.sum())

    def arrivals_us(self, most: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Poisson arrivals of every step from its beginning, at most so many of each; float64 [arrivals], ascending."""
        counts = [min(most, int(rng.poisson(rate * self.step_s))) for rate in self.rates_per_s]
        steps = zip(self.rates_per_s, counts, strict=True)
        return [np.cumsum(rng.exponential(1e6 / max(rate, 1e-12), count)) for rate, count in steps]


def constant(rate_per_s: float, hours: float = 24.0) -> Load:
    """Always the same rate."""
    return Load(3600.0, np.full(max(1, round(hours)), float(rate_per_s)))


def diurnal(rate_per_s: float) -> Load:
    """A day: a sine around the mean rate, lowest at midnight."""
    hour = np.arange(24) + 0.5
    return Load(3600.0, rate_per_s * (1.0 - DIURNAL_SWING * np.cos(2.0 * np.pi * hour / 24.0)))


def from_csv(path: Path) -> Load:
    """A file with the columns `seconds` (length of the step, the same everywhere) and `rate_per_s`.

    Raises:
        ConfigError: no such file, other columns, or a value that is not allowed.
    """
    if not path.is_file():
        raise ConfigError(f"--load {path}: no such file; allowed: constant, diurnal, or a CSV file")
    with reading(path, "load profile"), path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
        if not rows or set(rows[0]) != {"seconds", "rate_per_s"}:
            raise ConfigError(f"{path}: allowed: a header seconds,rate_per_s and at least one line")
        steps = np.array([[float(row["seconds"]), float(row["rate_per_s"])] for row in rows])
        if (
            not np.isfinite(steps).all()
            or (steps[:, 1] < 0).any()
            or (steps[:, 0] != steps[0, 0]).any()
            or steps[0, 0] <= 0
        ):
            raise ConfigError(f"{path}: allowed: the same seconds above 0 in every line, and rates from 0")
        return Load(float(steps[0, 0]), steps[:, 1])
