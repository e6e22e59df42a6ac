"""The `hill_climb` tuner: Apparate's two loops (SOSP'24), thresholds and ramps, as published."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from exeunt.contract import Reason
from exeunt.records.feedback import Feedback, FeedbackWindow
from exeunt.tuning.apparate.options import choices
from exeunt.tuning.apparate.ramp_adjustment import RampSet, adjust, first_set
from exeunt.tuning.apparate.threshold_search import comparable, searched_thresholds
from exeunt.tuning.evidence import Evidence
from exeunt.tuning.tuner import Setup, State, Tuner, View, error_score


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What a job found, and the version of the tuner that it started from."""

    version: int
    ramps: RampSet


class HillClimb(Tuner):
    """Thresholds by greedy climb whenever recent loss is too high, and ramp adjustment once per period.

    A row leaves iff its error score 1 - confidence is strictly below the exit's threshold; the first active exit
    wins. Thresholds start at 0: the first adjustment finds ramps that save nothing and so tunes for the first time.
    Rows outside the promise (`never`, deadline, degraded) are not looked at. A row counts 1/q where feedback is
    sampled. Exits on which rows have not been seen are not opened. With classes of service the strictest class's loss
    holds for all.

    Options:
        constants: "paper", or "public_code": start step 0.01, floor 0.001, no loss allowed on a window of 4 batches
            (0.0001), adjustment every 30 batches, ramp budget 5 %, and its guard: on the second bad batch since the
            last adjustment, or once losses since start pass the promise, the thresholds of exits that erred go to 0.
            The public code's own ways of adding and moving ramps are not copied: adjustment follows the paper.
        window, trigger, period: see `HillClimbOptions`; in rows for "paper", in batches for "public_code".
        ramp_budget: see there. A number given here is kept strictly. By default ramps may also cost together what all
            exported ones do: export has kept to its own budget, or the bag file has raised it openly.
        adjust: False keeps the start set of ramps; thresholds are still searched once per period, since loss alone
            would never open one.
    """

    name = "hill_climb"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._choices = choices(setup)
        self._now = first_set(setup.costs, self._choices.budget_us)
        self._window = FeedbackWindow(self._choices.most_rows, setup.exits)
        self._sizes: deque[int] = deque(maxlen=self._choices.longest)  # rows of the newest batches
        self._recent = np.zeros((2, 0))  # weight, and weight of losses, of the newest rows
        self._answered, self._lost = 0.0, 0.0  # weighted, since start
        self._since_adjustment = 0
        self._bad_batches = 0
        self._tune_due = self._adjust_due = False
        self._tunings = self._adjustments = 0

    @property
    def _max_loss(self) -> float:
        return min(self.class_losses)

    def set_class_losses(self, class_losses: tuple[float, ...]) -> None:
        """Other promised losses from now on; a search is due."""
        super().set_class_losses(class_losses)
        self._tune_due = True

    def leaves(self, exit_: int, view: View) -> np.ndarray:
        """Rows whose error score is strictly below the exit's threshold; bool [rows]."""
        return np.asarray(error_score(view.confidence[:, exit_]) < self._now.thresholds[exit_])

    def thresholds(self) -> np.ndarray:
        """Thresholds now; float64 [exits], 0 where inactive, NaN at the last."""
        return self._now.thresholds.copy()

    def active(self) -> np.ndarray:
        """Exits to offer; bool [exits]."""
        return self._now.active.copy()

    def learn(self, feedback: Feedback) -> None:
        """Keep the rows, and note whether a search or an adjustment is due."""
        promised = feedback.rows(feedback.promised)
        if not len(promised) or promised.of_full_votes_only:
            return
        self._window.add(promised)
        self._sizes.append(len(promised))
        weight = 1.0 / promised.q.astype(np.float64)
        lost = weight * promised.loss
        self._answered += float(weight.sum())
        self._lost += float(lost.sum())
        newest = np.concatenate([self._recent, np.stack([weight, lost])], axis=1)
        self._recent = newest[:, -self._rows_of(self._choices.trigger) :]
        bad = self._recent[1].sum() > self._max_loss * self._recent[0].sum()
        if self._choices.in_batches:
            self._guard(promised, bad)
        elif bad:
            self._tune_due = True
        self._since_adjustment += 1 if self._choices.in_batches else len(promised)
        self._adjust_due |= self._since_adjustment >= self._choices.period

    def _guard(self, batch: Feedback, bad: bool) -> None:
        """The public code's answer to a batch: retune, or close the exits that erred if it keeps happening."""
        first = self._answered <= self._recent[0].sum()
        self._tune_due |= bad or first
        self._bad_batches += bad
        if bad and (self._bad_batches >= 2 or self._lost > self._max_loss * self._answered):
            erred = np.unique(batch.exit[batch.loss & (batch.reason == Reason.EARLY)])
            self._tune_due = False
            self._take(self._now.changed(off=[], on=erred[self._now.active[erred]]))

    def _take(self, ramps: RampSet) -> bool:
        """Go on with `ramps`; True if that is a change."""
        same = np.array_equal(ramps.active, self._now.active)
        if same and np.array_equal(ramps.thresholds, self._now.thresholds, equal_nan=True):
            return False
        self._now = ramps
        self.version += 1
        return True

    def _rows_of(self, count: int) -> int:
        """Rows in the newest `count` rows or batches."""
        return sum(list(self._sizes)[-count:]) if self._choices.in_batches else count

    @property
    def retune_due(self) -> bool:
        """After a batch that asked for thresholds or ramps to be looked at anew."""
        return self._tune_due or self._adjust_due

    def retune(self) -> Callable[[], SearchOutcome] | None:
        """An adjustment if one is due, else a search for thresholds if one is due, on copies."""
        if not self.retune_due:
            return None
        adjusts = self._adjust_due and self._choices.adjusts
        if self._adjust_due:
            self._since_adjustment = self._bad_batches = 0
        self._tune_due = self._adjust_due = False
        self._tunings += 1
        self._adjustments += adjusts
        searched = self._window.view(self._rows_of(self._choices.window))
        judged = self._window.view(self._rows_of(self._choices.utility))
        version, now, costs, budget_us = self.version, self._now, self.setup.costs, self._choices.budget_us
        rules, allowed = self._choices.rules, min(self._choices.search_loss, self._max_loss)

        def job() -> SearchOutcome:
            evidence = Evidence.of(searched)

            def tune(active: np.ndarray) -> np.ndarray:
                return searched_thresholds(evidence, costs, active, allowed, rules)

            if not adjusts:
                return SearchOutcome(version, RampSet(now.active, tune(now.active)))
            _, newest = comparable(Evidence.of(judged), now.active)
            return SearchOutcome(version, adjust(newest, costs, now, budget_us, tune))

        return job

    def adopt(self, outcome: SearchOutcome) -> None:
        """Take over what a job found, unless an exit was closed meanwhile: then the search is due again."""
        if outcome.version != self.version:
            self._tune_due = True
            return
        before = self._now.active
        if self._take(outcome.ramps) and self._choices.in_batches:
            self._tune_due |= not np.array_equal(before, self._now.active)

    def state(self) -> State:
        """Thresholds, ramps, counters and the window."""
        window = self._window.view()
        return {
            "thresholds": self._now.thresholds.copy(),
            "active": self._now.active.copy(),
            "version": self.version,
            "sizes": np.array(self._sizes, dtype=np.int64),
            "recent": self._recent.copy(),
            "answered": self._answered,
            "lost": self._lost,
            "since_adjustment": self._since_adjustment,
            "bad_batches": self._bad_batches,
            **{f"window.{column.name}": getattr(window, column.name) for column in fields(Feedback)},
        }

    def restore(self, state: State, clean: bool) -> None:
        """Take over a saved state; ramps that now cost more than the budget are left out, and their thresholds.

        Raises:
            ValueError: another number of exits, or something is missing.
        """
        missing = self.state().keys() - state.keys()
        if missing:
            raise ValueError(f"state without {', '.join(sorted(missing))}")
        ramps = RampSet(np.asarray(state["active"], bool), np.asarray(state["thresholds"], float))
        window = Feedback(*(np.asarray(state[f"window.{column.name}"]) for column in fields(Feedback)))
        if ramps.active.shape != (self.setup.exits,) or window.exits != self.setup.exits:
            raise ValueError(f"state of {len(ramps.active)} exits; this bag has {self.setup.exits}")
        self._window.clear()
        self._window.add(window)
        self._sizes = deque((int(rows) for rows in state["sizes"]), maxlen=self._sizes.maxlen)
        self._recent = np.asarray(state["recent"], float).reshape(2, -1)
        self._answered, self._lost = float(state["answered"]), float(state["lost"])
        self._since_adjustment, self._bad_batches = int(state["since_adjustment"]), int(state["bad_batches"])
        self.version = max(self.version, int(state["version"]))
        if self.setup.costs.head_us[ramps.ramps].sum() <= self._choices.budget_us:
            self._now = ramps

    def metrics(self) -> dict[str, float]:
        """Searches and adjustments since start, and the loss that the trigger looks at."""
        weight, lost = self._recent.sum(axis=1)
        recent = float(lost / weight) if weight else 0.0
        return {"tunings": self._tunings, "adjustments": self._adjustments, "recent_loss": recent}
