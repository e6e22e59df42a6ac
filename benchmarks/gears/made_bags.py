"""Bags for simulations: times of segments, and votes drawn so that rows leave as they did where it was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exeunt.contract import votes_name
from exeunt.deciding.calibration import exits_of
from exeunt.engine.exit_times import Depths, exit_times
from exeunt.manifest import Exit, Manifest, Member, Segment, Tensor
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt_export.schedule.choose import choose
from exeunt_export.schedule.evaluate import ScheduleEvaluator as ScheduleEvaluator
from exeunt_export.schedule.evaluate import ScheduleInputs
from exeunt_export.schedule.lean_gear import merge_exits
from exeunt_export.schedule.schedule_bag import DECISION_US

MAX_LOSS = 0.01
BATCH_SAVES = 0.95  # of a row's time in a batch of eight
DRIFT = (0.25, 0.9, 0.35, 0.95, 0.25)  # difficulty along the stream, as in the glyphs benchmark

Probabilities = dict[tuple[int, int], np.ndarray]  # (member, depth) -> float32 [rows, classes]


@dataclass(frozen=True, slots=True)
class MadeBag:
    """What a made bag is like.

    Attributes:
        name: of the bag.
        segments_us: per member the time of each segment, one row.
        strengths: per member how clearly each depth sees the true class.
        classes: number of them.
        shared: how much of what misleads a member misleads the others too, 0 to 1.
        noise: how much misleads at all, in times of the row's difficulty.
    """

    name: str
    segments_us: tuple[tuple[float, ...], ...]
    strengths: tuple[tuple[float, ...], ...]
    classes: int
    shared: float
    noise: float

    def votes(self, difficulty: np.ndarray, seed: int) -> Probabilities:
        """Probabilities of every member at every depth.

        Args:
            difficulty: float64 [rows], 0 to 1.
            seed: of the draw.
        """
        rng = np.random.default_rng(seed)
        rows = len(difficulty)
        shape = rows, self.classes
        true = np.zeros(shape)
        true[np.arange(rows), rng.integers(0, self.classes, rows)] = 1.0
        spread = self.noise * (0.25 + difficulty[:, None]) * rng.gamma(2.0, 0.5, (rows, 1))
        common_noise = rng.standard_normal(shape)
        probabilities: Probabilities = {}
        for member, strengths in enumerate(self.strengths):
            member_noise = rng.standard_normal(shape)
            for depth, strength in enumerate(strengths, start=1):
                unripe = 1.0 - strength / strengths[-1]
                misled = np.sqrt(self.shared) * common_noise + np.sqrt(1.0 - self.shared) * member_noise
                misled = np.sqrt(1.0 - unripe) * misled + np.sqrt(unripe) * rng.standard_normal(shape)
                scores = strength * true + spread * misled
                shares = np.exp(scores - scores.max(axis=1, keepdims=True))
                probabilities[member, depth] = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
        return probabilities


GLYPHS = MadeBag(  # two members that can say much half-way, one that is cut four times and says little at first
    "glyphs",
    ((5900.0, 4200.0), (5600.0, 5600.0), (2900.0, 2900.0, 3000.0, 3100.0)),
    ((6.6, 7.0), (5.8, 7.0), (4.0, 5.0, 6.0, 7.0)),
    36,
    0.5,
    1.6,
)


def difficulties(rows: int, seed: int) -> np.ndarray:
    """Of a stream that gets harder and easier; float64 [rows]."""
    path = np.interp(np.linspace(0.0, 1.0, rows), np.linspace(0.0, 1.0, len(DRIFT)), DRIFT)
    return np.clip(path + 0.15 * np.random.default_rng(seed).standard_normal(rows), 0.0, 1.0)


def exits_by(kind: str, inputs: ScheduleInputs, evaluator: ScheduleEvaluator) -> tuple[Depths, ...]:
    """The exits of a schedule, as the export chooses them."""
    equal = [tuple(min(depth, whole) for whole in inputs.full) for depth in range(1, max(inputs.full) + 1)]
    return choose(kind, evaluator, equal).exits


def inputs_of(
    segments_us: tuple[tuple[float, ...], ...], votes: Probabilities, workers: int, slowdown: tuple[float, ...]
) -> ScheduleInputs:
    """What the export would know of a bag."""
    return ScheduleInputs(
        segments_us=segments_us,
        probabilities=votes,
        weights=[1.0] * len(segments_us),
        vote="soft",
        workers=workers,
        max_loss=MAX_LOSS,
        exit_us=DECISION_US,
        slowdown=slowdown,
    )


def manifest_of(
    name: str, inputs: ScheduleInputs, evaluator: ScheduleEvaluator, *lists: tuple[Depths, ...]
) -> tuple[Manifest, Feedback]:
    """(manifest of a bag with one or two gears of these exits, its calibration rows)."""
    exits, gears = merge_exits(inputs.segments_us, lists[0], lists[-1])
    x = Tensor("x", "float32", (1,))
    members = tuple(
        Member(
            f"m{number}",
            1.0,
            tuple(
                Segment(f"{name}_m{number}_s{place}", (x,), (x,), None, {1: us, 8: 8 * us * BATCH_SAVES})
                for place, us in enumerate(member_us, start=1)
            ),
            None,
        )
        for number, member_us in enumerate(inputs.segments_us)
    )
    best = evaluator.with_best_targets(lists[0])
    times = exit_times(inputs.segments_us, lists[0], inputs.workers, best.targets, inputs.slowdown, best.works_ahead)
    times_us = dict(zip(lists[0], times, strict=True))
    work = exit_times(inputs.segments_us, lists[-1], workers=1)
    for depths, us in zip(lists[-1], work, strict=True):  # as the export does
        times_us.setdefault(depths, us * times[-1] / work[-1])
    manifest_exits = tuple(
        Exit(depths, None, {1: times_us[depths]}, {1: DECISION_US}, 0.9, evaluator.weights(depths)) for depths in exits
    )
    classes = next(iter(inputs.probabilities.values())).shape[1]
    settings = Settings(max_loss=MAX_LOSS, confidence="margin", workers=inputs.workers)
    labels = tuple(f"class {number}" for number in range(classes))
    manifest = Manifest(
        name,
        "engine",
        "soft",
        "auto",
        (x,),
        labels,
        64,
        members,
        manifest_exits,
        settings,
        "",
        slowdown=tuple(inputs.slowdown),
        gears=gears if len(lists) > 1 else (),
    )
    return manifest, calibration_of(inputs.probabilities, manifest)


def calibration_of(votes: Mapping[tuple[int, int], np.ndarray], manifest: Manifest) -> Feedback:
    """Votes as feedback on every exit."""
    by_votes_name = {votes_name(manifest.members[m].name, depth): array for (m, depth), array in votes.items()}
    return exits_of(by_votes_name, manifest)


def with_settings(manifest: Manifest, **settings: object) -> Manifest:
    """The same bag, other settings."""
    return dataclasses.replace(manifest, settings=dataclasses.replace(manifest.settings, **settings))
