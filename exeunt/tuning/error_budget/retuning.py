"""What `budget` computes beside serving: from a window of feedback to risks, a path, plans and the exits to offer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.tuning.error_budget.calibrator import calibrate, forgotten
from exeunt.tuning.error_budget.exit_choice import ExitChoice, Replayed, pruned, reconsider
from exeunt.tuning.error_budget.exit_path import find_path
from exeunt.tuning.error_budget.rule import Calibration, ExitPath
from exeunt.tuning.error_budget.spending import plan

MOST_ROWS = 1024  # replayed, the latest
REPLAY_HALF_LIFE_ROWS = 100.0  # shorter than that of the risks: the mix of rows changes faster, and few rows suffice
LEAST_ROWS = 256  # rows that saw every active exit, to leave out those that did not
EVERYTHING = slice(None)
LATEST_ROWS = 512  # an active exit that none of the latest rows saw is not offered: an operator switched it off


@dataclass(frozen=True, slots=True)
class RetuneResult:
    """What a job found.

    Attributes:
        calibration: risk by exit, confidence and label.
        path: decisions, ordered by what a loss is worth.
        plans: by class of service, position on the path by reserve.
        choice: the exits to offer.
        window_version: see RetuneSnapshot.
    """

    calibration: Calibration
    path: ExitPath
    plans: tuple[np.ndarray, ...]
    choice: ExitChoice
    window_version: int = 0

    def without(self, exits: np.ndarray) -> RetuneResult:
        """The same, but nobody leaves at some exits (bool [exits]), of whose risk nothing is known."""
        path = replace(self.path, cuts=np.where(exits[:-1], 0.0, self.path.cuts))
        return replace(self, calibration=forgotten(self.calibration, exits), path=path)


@dataclass(frozen=True, slots=True)
class RetuneSnapshot:
    """What a job works on; a copy, so that serving can go on.

    Attributes:
        window: the latest feedback, oldest first.
        half_life_rows: age at which a row counts half for its risk.
        costs: latency of the exits.
        class_losses: eps by class of service.
        capacities: upper end of the reserve by class of service.
        loss_weights: what one seen loss takes from it.
        calibration: the one before; where the job starts.
        path: the one before, None at the start.
        choice: the exits offered now.
        recalibrate: True if the risks are to be learnt anew, not only the path.
        reconsider_exits: True if a period of the exit choice is over.
        window_version: grows when some exits say something else from then on.
    """

    window: Feedback
    half_life_rows: float
    costs: Costs
    class_losses: tuple[float, ...]
    capacities: tuple[float, ...]
    loss_weights: tuple[float, ...]
    calibration: Calibration
    path: ExitPath | None
    choice: ExitChoice
    recalibrate: bool
    reconsider_exits: bool
    window_version: int = 0

    def run(self) -> RetuneResult:
        """Do the work; some ten milliseconds for 4096 rows and 8 exits."""
        window = self.window
        weights = self._weights(self.half_life_rows)
        calibration = self.calibration
        if self.recalibrate:
            calibration = calibrate(window.labels, window.confidence, self._weights_by_exit(), calibration)
        choice, path = self.choice, self.path
        if self.reconsider_exits or path is None:
            choice = self._chosen(calibration, weights)
            path = path if np.array_equal(choice.active, self.choice.active) else None
        path = self._path(calibration, choice.active, path)
        accounts = zip(self.class_losses, self.capacities, self.loss_weights, strict=True)
        plans = tuple(plan(path, eps, capacity, weight) for eps, capacity, weight in accounts)
        return RetuneResult(calibration, path, plans, choice, self.window_version)

    def _path(self, calibration: Calibration, active: np.ndarray, before: ExitPath | None) -> ExitPath:
        """The path: a gear's cuts come from rows that went through its exits; at a shared exit the first gear's count.

        Its loss and latency are those of the gear that most of the latest rows took.
        """
        masks = self.costs.masks
        paths, lately = [], []
        for number, mask in enumerate(masks):
            own_exits = mask & ~masks[1 - number] if len(masks) > 1 else None
            rows, offered = self._rows(active & mask, own_exits)
            risk = calibration.risks_of(self.window.labels[rows], self.window.confidence[rows])
            spent = self.costs.latency_us(active & mask) / self.costs.elapsed_us[-1]
            # age is counted in the gear's own rows: a gear that is seldom used is not old
            age_rows = None if own_exits is None else np.arange(len(rows))[::-1]
            weights = self._weights(REPLAY_HALF_LIFE_ROWS, rows, age_rows)
            paths.append(find_path(risk, weights, spent, offered, before))
            lately.append(int(np.count_nonzero(rows >= len(self.window) - LATEST_ROWS)))
        path = paths[int(np.argmax(lately))]
        return path if len(paths) == 1 else replace(path, cuts=np.where(masks[0][:-1], paths[0].cuts, paths[1].cuts))

    def _weights_by_exit(self) -> np.ndarray:
        """Weights of the window's rows for the risk at each exit; float64 [rows, exits].

        At an exit that one gear alone has, age is counted in rows that saw it: a gear that is seldom used is not old.
        """
        weights = np.repeat(self._weights(self.half_life_rows)[:, None], self.window.exits, axis=1)
        for exit_ in np.flatnonzero(np.count_nonzero(self.costs.masks, axis=0) < len(self.costs.masks)):
            rows = np.flatnonzero(np.isfinite(self.window.confidence[:, exit_]))
            weights[rows, exit_] = self._weights(self.half_life_rows, rows, np.arange(len(rows))[::-1])
        return weights

    def _weights(
        self, half_life_rows: float, rows: slice | np.ndarray = EVERYTHING, age_rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Recency x 1/q of the window's `rows`, in their order; float64 [rows]. `age_rows`: None = by their places."""
        if age_rows is None:
            age_rows = np.arange(len(self.window) - 1, -1, -1)[rows]
        return 0.5 ** (age_rows / half_life_rows) / self.window.q[rows].astype(np.float64)

    def _rows(self, active: np.ndarray, own_exits: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Rows to replay (indices), and the active exits that the latest of them saw (bool [exits]).

        The rows are the latest, of those that saw every offered exit if there are enough of them.

        Args:
            active: exits of a gear.
            own_exits: those of them that no other gear has; None where there is one gear.
        """
        voted = np.isfinite(self.window.confidence)
        usable = np.arange(len(voted)) if own_exits is None else np.flatnonzero(voted[:, own_exits].any(axis=1))
        latest = voted[usable[-LATEST_ROWS:]]
        offered = active & latest.any(axis=0) if len(latest) else active
        rows = usable[voted[usable][:, offered].all(axis=1)]
        return (usable if len(rows) < LEAST_ROWS else rows)[-MOST_ROWS:], offered

    def _chosen(self, calibration: Calibration, weights: np.ndarray) -> ExitChoice:
        """The exits to offer from now on; at the start, what calibration data prune."""
        risk = calibration.risks_of(self.window.labels, self.window.confidence)
        path = self.path
        if path is None:
            spent = self.costs.latency_us(self.choice.active) / self.costs.elapsed_us[-1]
            path = find_path(risk, weights, spent, self.choice.active)
        replayed = Replayed(risk, weights, self.costs, path.price_at(self.class_losses[0]))
        return pruned(self.choice, replayed) if self.path is None else reconsider(self.choice, replayed)
