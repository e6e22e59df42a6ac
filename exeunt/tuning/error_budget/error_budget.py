"""The error budgets of all classes of service: what answers, feedback and lost feedback do to them.

Everything that the promise depends on is here (the cap that classes share) and in class_budget.py (reserve and lambda
of each class). Each class has its own budget and so its own promise. The rows that await the full vote are capped
together, as `max_unconfirmed_rows` says, which caps them for each class; of this room an equal share is kept for every
class that is in use.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from exeunt.contract import EARLY, LOSSLESS
from exeunt.records.feedback import Feedback, summed_weight
from exeunt.tuning.error_budget.class_budget import ClassBudget
from exeunt.tuning.error_budget.rule import LossRateLimit
from exeunt.tuning.tuner import Answered

ROUNDING = 1e-6  # of summed weights 1 / q
EVERYBODY = slice(None)
OUTSIDE_SHARE = 0.1  # of the rows learnt from, at most, are outside the promise: whoever sends them may send any number
IN_USE_ROWS = 4096  # a class that had none of the latest answers keeps no room


class ErrorBudget:
    """Accounts by class of service, index 0 first.

    Args:
        names: classes of service, Settings.classes_of_service.
        class_losses: eps of each.
        g: step of lambda per loss, where eps is at most 1 %.
        most_unconfirmed: cap on the early rows that await the full vote, each counted 1 / q, all classes together.
    """

    def __init__(
        self, names: tuple[str, ...], class_losses: tuple[float, ...], g: float, most_unconfirmed: int
    ) -> None:
        self.names = names
        self._g = g
        self.classes = [ClassBudget(eps, self._step(eps)) for eps in class_losses]
        self.rate_limits = [LossRateLimit() for _ in class_losses]
        self._cap = most_unconfirmed
        self._answers = 0  # promised rows answered in this life, all classes together
        self._last_answer = [-IN_USE_ROWS - 1] * len(class_losses)  # of each class, counted in `_answers`

    def set_class_losses(self, class_losses: tuple[float, ...]) -> None:
        """Other eps from now on; what was earned and lost stays."""
        for account, eps in zip(self.classes, class_losses, strict=True):
            account.eps, account.g = eps, self._step(eps)

    @property
    def open(self) -> bool:
        """True if somebody may leave: some class has lambda < 1."""
        return any(account.may_leave for account in self.classes)

    def room_rows(self, q: float, number: int = 0) -> int:
        """Rows of a class that may leave now before the cap is reached, if each then counts 1 / q."""
        room = self._cap - self.classes[number].unconfirmed
        if len(self.classes) > 1:
            share = self._cap / len(self.classes)
            for other, account in enumerate(self.classes):
                if other != number:
                    reserved = share if self._answers - self._last_answer[other] <= IN_USE_ROWS else 0.0
                    room -= max(account.unconfirmed, reserved)
        return max(0, int(room * q + ROUNDING))

    def answered(self, answered: Answered) -> None:
        """Rows were answered: each promised one earns eps; early ones that are not left out start to wait."""
        early = answered.reason == EARLY
        counted = answered.counted | early
        waits = early & answered.finishes
        for number, (account, mine) in enumerate(self._by_class(answered.service_class)):
            rows = int(np.count_nonzero(counted[mine]))
            if not rows:
                continue
            self._answers += rows
            self._last_answer[number] = self._answers
            account.answered(rows)
            if early[mine].any():
                q = answered.q[mine][waits[mine]]
                account.left_early(len(q), summed_weight(q), 1.0 / float(q.min(initial=1.0)))

    def tossed(self, answered: Answered) -> None:
        """Rows that were answered before have been tossed: early ones count by what came out from now on."""
        early = answered.reason == EARLY
        for account, mine in self._by_class(answered.service_class):
            rows = np.flatnonzero(early[mine])
            finishes, q = answered.finishes[mine][rows], answered.q[mine][rows]
            for share in np.unique(q).tolist():
                finishing = int(np.count_nonzero(finishes[q == share]))
                account.tossed(finishing, int(np.count_nonzero(q == share)) - finishing, share)

    def abandoned(self, answered: Answered) -> None:
        """Early rows whose full vote will never come: each counts as lost."""
        abandoned_rows = (answered.reason == EARLY) & answered.finishes
        for number, (account, mine) in enumerate(self._by_class(answered.service_class)):
            q = answered.q[mine][abandoned_rows[mine]]
            if len(q):
                weight = summed_weight(q)
                account.confirmed(len(q), weight)
                self._lost(number, weight)

    def learn(self, feedback: Feedback) -> None:
        """Finished rows: early ones no longer wait, and what differs from the full vote is lost."""
        early = feedback.reason == EARLY
        lost = feedback.loss & (feedback.promised | early)
        if not (np.count_nonzero(early) or np.count_nonzero(lost)):
            return
        for number, (account, mine) in enumerate(self._by_class(feedback.service_class)):
            waited = feedback.q[mine][early[mine]]
            if len(waited):
                account.confirmed(len(waited), summed_weight(waited))
            differed = feedback.q[mine][lost[mine]]
            if len(differed):
                self._lost(number, summed_weight(differed))

    def most_loss(self, number: int) -> float:
        """Highest share of losses that a class may aim at now, by its loss-rate limit, if that binds; else infinity."""
        account = self.classes[number]
        return self.rate_limits[number].most_loss(account.answered_rows, account.eps, account.heaviest)

    def metrics(self) -> dict[str, float]:
        """Numbers for operators; those of a named class of service end in its name."""
        numbers: dict[str, float] = {}
        for name, account in zip(self.names, self.classes, strict=True):
            end = f"_{name}" if name else ""
            numbers |= {
                f"promised_loss{end}": account.eps,
                f"observed_loss{end}": account.losses / account.answered_rows if account.answered_rows else 0.0,
                f"lambda{end}": account.lambda_,
                f"budget_left_losses{end}": account.reserve,
                f"promised_rows{end}": float(account.answered_rows),
                f"lost_rows{end}": account.losses,
                f"unconfirmed_rows{end}": float(account.unconfirmed_rows),
                f"most_unconfirmed_rows{end}": account.most_unconfirmed,
                f"most_losses{end}": account.most_losses,
                f"promise_broken{end}": float(account.broken),
            }
        return numbers

    def state(self) -> dict[str, Any]:
        """The accounts as lists by field, with the classes' names."""
        states = [account.state() for account in self.classes]
        return {"names": list(self.names)} | {key: [state[key] for state in states] for key in states[0]}

    def restore(self, state: dict[str, Any], clean: bool) -> None:
        """Take over saved accounts by class name; a class that was not there then starts anew.

        Raises:
            ValueError: fields are missing or do not fit each other.
        """
        names = state.get("names")
        if not isinstance(names, list) or any(len(values) != len(names) for values in state.values()):
            raise ValueError("saved accounts do not fit each other")
        for name, account in zip(self.names, self.classes, strict=True):
            if name in names:
                place = names.index(name)
                account.restore({key: values[place] for key, values in state.items() if key != "names"}, clean)

    def _step(self, eps: float) -> float:
        """g, smaller above 1 %: who promises more losses has more of them by chance, too, and may save up for more."""
        return self._g / max(1.0, eps / 0.01)

    def _lost(self, number: int, weight: float) -> None:
        self.classes[number].lost(weight)
        self.rate_limits[number].lost(self.classes[number].answered_rows, weight)

    def _by_class(self, service_class: np.ndarray) -> list[tuple[ClassBudget, np.ndarray | slice]]:
        """Each account with the rows of its class; bool [rows], or all."""
        if len(self.classes) == 1:
            return [(self.classes[0], EVERYBODY)]
        return [(account, service_class == number) for number, account in enumerate(self.classes)]


class FairShare:
    """Leaves out rows outside the promise that come too often.

    Args:
        window_rows: rows that are learnt from.
    """

    def __init__(self, window_rows: int) -> None:
        self._most = OUTSIDE_SHARE / 2 * window_rows  # that can be saved up: half of the share
        self._room = self._most

    def of(self, feedback: Feedback) -> Feedback:
        """The promised rows, and of those outside the promise as many as there is room for."""
        if feedback.reason.max(initial=0) <= LOSSLESS and not feedback.never.any():  # nearly always
            self._room = min(self._room + OUTSIDE_SHARE / 2 * len(feedback), self._most)
            return feedback
        outside = np.flatnonzero(~(feedback.promised | (feedback.reason == EARLY)))
        room = self._room + OUTSIDE_SHARE / 2 * (len(feedback) - len(outside))
        admitted = min(len(outside), int(room))
        self._room = min(room - admitted, self._most)
        if admitted == len(outside):
            return feedback
        return feedback.rows(np.delete(np.arange(len(feedback)), outside[admitted:]))
