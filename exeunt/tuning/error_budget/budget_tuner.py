"""`budget`: a promise on the loss, kept whatever the data do, and as little latency as it allows.

Proof and fine print in docs/promise.md. This file is the tuner; the package's page says what the other files do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from exeunt.errors import ConfigError
from exeunt.records.feedback import NEVER_SEEN, Feedback, FeedbackWindow, summed_weight
from exeunt.tuning.error_budget.calibrator import prior
from exeunt.tuning.error_budget.class_budget import ClassBudget
from exeunt.tuning.error_budget.error_budget import ErrorBudget, FairShare
from exeunt.tuning.error_budget.exit_choice import LEAST_ROWS, ExitChoice
from exeunt.tuning.error_budget.retuning import RetuneResult, RetuneSnapshot
from exeunt.tuning.error_budget.rule import Calibration, ExitPath, LikelyLost, between
from exeunt.tuning.tuner import Answered, Setup, State, Tuner, View, options, part_of

NEEDED_ROWS = 512.0  # effective rows of feedback within its half-life that know the risks well enough
MOST_CHANGES = 2**62  # of heads: what an int64 can count


class BudgetTuner(Tuner):
    """Error-budget tuning.

    Options:
        g: step of lambda per loss, for a promise up to 1 %; at k % it is g / k. 1 / g losses can be saved up. Larger
            holds every window closer to eps, smaller saves a little latency.
        window_rows: feedback that is learnt from.
        half_life_rows: age at which a row of it counts half for the risk estimates.
        retune_rows: feedback between two retunings of the path.
        calibrate_rows: feedback between two retunings of the risk estimates.
        period_rows: feedback between two reconsiderations of the active exits; also the length of a trial. 0: the
            exits of the start stay.
    """

    name = "budget"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        option_values = options(
            setup,
            g=0.25,
            window_rows=4096,
            half_life_rows=2000.0,
            retune_rows=32,
            calibrate_rows=64,
            period_rows=1024,
        )
        for key, value in option_values.items():
            if not (value > 0 or (key == "period_rows" and value == 0)):
                raise ConfigError(f"exit.tuner_options: {key} = {value!r}; allowed: a number above 0")
        self._half_life_rows = float(option_values["half_life_rows"])
        self._retune_rows: int = option_values["retune_rows"]
        self._calibrate_rows: int = option_values["calibrate_rows"]
        self._period_rows: int = option_values["period_rows"]
        names, cap = setup.settings.classes_of_service, setup.settings.max_unconfirmed_rows
        self.budget = ErrorBudget(names, self.class_losses, option_values["g"], cap)
        self._window = FeedbackWindow(len(setup.costs.masks) * option_values["window_rows"], setup.exits)
        if len(setup.calibration):
            self._window.add(setup.calibration)
        self._until_retune = self._retune_rows
        self._until_calibrate = self._calibrate_rows
        self._until_period = self._period_rows
        self._fair_share = FairShare(int(option_values["window_rows"]))
        self._knowledge = np.zeros(2)  # sums of the feedback's weights 1 / q and of their squares; fading
        self._last_risk: tuple[tuple[int, int, float, int], np.ndarray] = ((-1, -1, 0.0, -1), np.zeros(0))
        self._likely_lost = LikelyLost(len(self.budget.classes))
        self._window_version = 0  # grows when rows about exits become void, and with them the jobs under way
        self._choose_anew = False  # the next job chooses the exits to offer as at the start
        self._retuned = self._snapshot(prior(setup.exits), None, ExitChoice.all(setup.exits), True, False).run()

    def leaves(self, exit_: int, view: View) -> np.ndarray:
        """Rows whose risk is below their class's cut, the surest first while there is room; bool [rows]."""
        if not self.budget.open:
            return np.zeros(len(view.confidence), dtype=bool)
        confidence = view.confidence[:, exit_]
        risk = self._risk(exit_, confidence, view.labels[:, exit_])
        cuts = [self._cuts(number)[exit_] for number in range(len(self.budget.classes))]
        leaves = risk < (cuts[0] if len(cuts) == 1 else np.array(cuts)[view.service_class])  # False for NaN
        for number in (0,) if len(self.budget.classes) == 1 else np.unique(view.service_class[leaves]).tolist():
            surest = np.flatnonzero(leaves & (view.service_class == number))
            room_rows = self.budget.room_rows(view.q, number)
            if len(surest) > room_rows:
                leaves[surest[np.argsort(risk[surest], kind="stable")[room_rows:]]] = False
        self._likely_lost.add_early(risk[leaves], view.service_class[leaves])
        return leaves

    def thresholds(self) -> np.ndarray:
        """Thresholds on 1 - confidence of requests without a class, for a label of average risk; float64 [exits]."""
        cuts = self._cuts(0)
        sure = [self._retuned.calibration.confidence_at(exit_, cut) for exit_, cut in enumerate(cuts)]
        return np.append(1.0 - np.array(sure), np.nan)

    def active(self) -> np.ndarray:
        """Exits to offer; bool [exits]."""
        return self._retuned.choice.active.copy()

    def trusts(self) -> bool:
        """Some account has anything left."""
        return self.budget.open

    def risk(self, exit_: int, confidence: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Calibrated risk of a vote; float32 [rows]; 0 at the last exit."""
        if exit_ == self.setup.exits - 1:
            return np.where(np.isnan(confidence), np.float32(np.nan), np.float32(0.0))
        return self._risk(exit_, confidence, labels).astype(np.float32)

    def _risk(self, exit_: int, confidence: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Calibrated risk; of a single row it is kept, since `leaves` and then `risk` ask for it."""
        if len(confidence) != 1 or labels is None:
            return self._retuned.calibration.risk(exit_, confidence, labels)
        vote = (self.version, exit_, float(confidence[0]), int(labels[0]))
        if vote != self._last_risk[0]:
            self._last_risk = vote, np.array([self._retuned.calibration.risk_of_one(*vote[1:])])
        return self._last_risk[1]

    def set_class_losses(self, class_losses: tuple[float, ...]) -> None:
        """Other promised losses from now on; debts and savings stay."""
        super().set_class_losses(class_losses)
        self.budget.set_class_losses(class_losses)
        self._until_retune = 0

    def answered(self, answered: Answered) -> None:
        """Book answers."""
        self.budget.answered(answered)
        self._knowledge *= 0.5 ** (len(answered.reason) / self._half_life_rows)

    def tossed(self, answered: Answered) -> None:
        """Book which early rows are run to the end."""
        self.budget.tossed(answered)

    def feedback_wanted(self) -> float:
        """1 until the risks are known and while losses run high; then the share that keeps the risks known."""
        if any(self.budget.most_loss(number) < np.inf for number in range(len(self.budget.classes))):
            return 1.0
        summed, squares = self._knowledge.tolist()
        effective_rows = summed**2 / squares if squares else 0.0
        if effective_rows < NEEDED_ROWS / 2:
            return 1.0
        lasting = NEEDED_ROWS / (self._half_life_rows / np.log(2.0))  # share at which effective_rows stays NEEDED_ROWS
        return float(min(1.0, lasting * max(1.0, NEEDED_ROWS / effective_rows) ** 2))

    def abandoned(self, answered: Answered) -> None:
        """Book early rows whose full vote will never come as lost."""
        self.budget.abandoned(answered)

    def learn(self, feedback: Feedback) -> None:
        """Book losses, keep the rows for the next retuning."""
        self.budget.learn(feedback)
        feedback = self._fair_share.of(feedback)
        if len(feedback):
            self.learn_unbooked(feedback)

    def learn_unbooked(self, feedback: Feedback, offered: np.ndarray | None = None) -> None:
        """Keep rows for the next retuning; with `offered`, what other replicas offer, retune at once."""
        if not feedback.of_full_votes_only:
            self._window.add(feedback)
            self._knowledge += (summed_weight(feedback.q), summed_weight(np.square(feedback.q)))
            self._until_retune -= len(feedback)  # rows without exits are no reason to retune
            self._until_calibrate -= len(feedback)
        self._until_period -= len(feedback)
        if offered is not None:
            self._start_from(replace(ExitChoice.all(self.setup.exits), active=offered))

    def ramps_changed(self, version: int, changed: np.ndarray, votes: Feedback) -> None:
        """Nobody leaves at the changed exits until a job has learnt their risk anew, from `votes` and what comes."""
        super().ramps_changed(version, changed, votes)
        window = self._window.view()
        window = window.rows(slice(max(0, len(window) - len(votes))))  # the latest are those that were seen
        labels = np.where(changed, np.int32(NEVER_SEEN), window.labels)
        confidence = np.where(changed, np.float32(np.nan), window.confidence)
        self._window.clear()
        self._window.add(replace(window, labels=labels, confidence=confidence))
        self._window.add(votes)
        self._retuned = self._retuned.without(changed)
        self._until_retune = self._until_calibrate = self._until_period = 0
        self._choose_anew = self._period_rows > 0 and len(votes) >= LEAST_ROWS  # exits that did not pay may pay now
        self._window_version += 1
        self.version += 1

    def shareable_budgets(self) -> dict[str, ClassBudget]:
        """Those of the error budget."""
        return dict(zip(self.budget.names, self.budget.classes, strict=True))

    @property
    def retune_due(self) -> bool:
        """After `retune_rows` rows of feedback about exits, and when other exits may be worth a trial."""
        return self._until_retune <= 0 or self._until_period <= 0 < self._period_rows

    def retune(self) -> Callable[[], RetuneResult] | None:
        """A job that learns from the window."""
        if not self.retune_due:
            return None
        reconsider_exits = self._period_rows > 0 and self._until_period <= 0
        recalibrate = reconsider_exits or self._until_calibrate <= 0
        self._until_retune = self._retune_rows
        if recalibrate:
            self._until_calibrate = self._calibrate_rows
        if reconsider_exits:
            self._until_period = self._period_rows
        before = self._retuned
        anew, self._choose_anew = self._choose_anew, False
        choice = ExitChoice.all(self.setup.exits) if anew else before.choice
        path = None if anew else before.path
        return self._snapshot(before.calibration, path, choice, recalibrate, reconsider_exits).run

    def adopt(self, outcome: RetuneResult) -> None:
        """Decide by a newer result."""
        if len(outcome.plans) == len(self.budget.classes) and outcome.window_version == self._window_version:
            self._retuned = outcome
            self.version += 1

    def metrics(self) -> dict[str, float]:
        """The error budget's numbers, and the exits on offer."""
        path, choice = self._retuned.path, self._retuned.choice
        return self.budget.metrics() | {
            "active_exits": float(np.count_nonzero(choice.active)),
            "trial_exit": float(choice.trial),
            "window_rows": float(len(self._window)),
            "expected_latency_share": float(np.interp(self.class_losses[0], path.loss, path.latency)),
        }

    def state(self) -> State:
        """Accounts, window and exit choice."""
        window = self._window.view()
        state: State = {f"window.{field.name}": getattr(window, field.name) for field in fields(window)}
        state |= {f"budget.{key}": value for key, value in self.budget.state().items()}
        choice = self._retuned.choice
        state |= {f"choice.{field.name}": getattr(choice, field.name) for field in fields(choice)}
        return state | {"heads_version": self.heads_version}

    def restore(self, state: State, clean: bool) -> None:
        """Take over a saved state; see ClassBudget.restore for what an unclean stop means.

        Raises:
            ValueError: the state does not fit this bag.
        """
        window = part_of(state, "window.", [field.name for field in fields(Feedback)])
        choice = part_of(state, "choice.", [field.name for field in fields(ExitChoice)])
        saved = Feedback(**window)
        exits = self.setup.exits
        if saved.labels.shape[1:] != (exits,) or len(choice["active"]) != exits:
            raise ValueError(f"saved state of a bag with {saved.labels.shape[-1]} exits, this one has {exits}")
        self.budget.restore(
            {key.removeprefix("budget."): value for key, value in state.items() if key.startswith("budget.")}, clean
        )
        heads_version = int(state.get("heads_version", 0))
        if not 0 <= heads_version < MOST_CHANGES:
            raise ValueError(f"saved state with heads_version {heads_version}")
        self.heads_version = heads_version
        self._window.clear()
        self._window.add(saved)
        self._start_from(ExitChoice(**choice | {"trial": int(choice["trial"])}))

    def _start_from(self, choice: ExitChoice) -> None:
        """Retune at once, with these exits."""
        before = self._retuned
        self._retuned = self._snapshot(before.calibration, before.path, choice, True, False).run()
        self.version += 1

    def _cuts(self, number: int) -> np.ndarray:
        """Cuts on the risk of a class of service; float64 [exits - 1]."""
        account, retuned = self.budget.classes[number], self._retuned
        if not account.may_leave:
            return np.zeros(self.setup.exits - 1)
        plan = retuned.plans[number]
        left_over = account.reserve - self._likely_lost.losses(number, account.unconfirmed)
        position = between(plan, left_over / account.capacity * (len(plan) - 1))
        most_loss = self.budget.most_loss(number)
        if most_loss < np.inf:
            position = min(position, retuned.path.position_of(most_loss))
        return retuned.path.at(position)

    def _snapshot(
        self,
        calibration: Calibration,
        path: ExitPath | None,
        choice: ExitChoice,
        recalibrate: bool,
        reconsider_exits: bool,
    ) -> RetuneSnapshot:
        return RetuneSnapshot(
            window=self._window.view(),
            half_life_rows=self._half_life_rows,
            costs=self.setup.costs,
            class_losses=self.class_losses,
            capacities=tuple(account.capacity for account in self.budget.classes),
            loss_weights=tuple(account.heaviest for account in self.budget.classes),
            calibration=calibration,
            path=path,
            choice=choice,
            recalibrate=recalibrate,
            reconsider_exits=reconsider_exits,
            window_version=self._window_version,
        )
