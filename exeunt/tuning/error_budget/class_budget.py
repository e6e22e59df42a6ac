"""The error budget of one class of service: the arithmetic that the promise rests on (proof: docs/promise.md).

Kept in losses rather than in lambda: `reserve` is what the class may still lose, lambda = 1 - g * reserve. In these
units every answered row earns eps, every seen loss costs 1 / q, a reserve of 1 / g is full and overflows (lambda is
clipped below at 0), and debt is never forgiven (lambda is never clipped above). Only the sign of the reserve carries
the promise, and it does not depend on g: g may change at any time.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

Q_JUMP = 0.2  # one seen loss moves lambda by at most this where q < 1: g / q <= Q_JUMP
FORGET_ROWS = 4096  # answers after which a low q widens the reserve half as much


@dataclass(slots=True)
class ClassBudget:
    """Error budget of one class of service.

    Attributes:
        eps: promised share of losses, 0..1; may change at any time.
        g: step of lambda per loss with full feedback; 1 / g losses can be saved up.
        reserve: losses that may still happen; starts at 0 (lambda = 1); negative = debt.
        heaviest: highest 1 / q of late; where it is above 1 the reserve is widened by Q_JUMP.
        answered_rows: promised rows answered so far (T).
        allowed: eps summed over them (eps T).
        losses: losses seen so far, each counted 1 / q.
        unconfirmed_rows: rows that left early, were chosen to finish and still await the full vote.
        unconfirmed: the same, each counted 1 / q.
        most_unconfirmed: highest `unconfirmed` so far (P).
        widest: highest capacity of the reserve so far (1 / g).
        excess: losses less eps x answers in the window that ends now and has the most.
        worst_excess: highest `excess` so far.
    """

    eps: float
    g: float
    reserve: float = 0.0
    heaviest: float = 1.0
    answered_rows: int = 0
    allowed: float = 0.0
    losses: float = 0.0
    unconfirmed_rows: int = 0
    unconfirmed: float = 0.0
    most_unconfirmed: float = 0.0
    widest: float = 0.0
    excess: float = 0.0
    worst_excess: float = 0.0

    @property
    def capacity(self) -> float:
        """Most losses that can be saved up: 1 / g, or more while a seen loss weighs more than one."""
        full = 1.0 / self.g
        return full if self.heaviest <= 1.0 else max(full, self.heaviest / Q_JUMP)

    @property
    def lambda_(self) -> float:
        """How far from leaving: from 1 on nobody leaves early (above 1 is debt); 0 is a full reserve."""
        return 1.0 - self.reserve / self.capacity

    @property
    def may_leave(self) -> bool:
        """True while lambda < 1."""
        return self.reserve > 0.0

    def answered(self, rows: int) -> None:
        """`rows` promised rows were answered, for whatever reason: lambda -= g eps each, not below 0."""
        if not rows:
            return
        if self.heaviest > 1.0:
            self.heaviest = 1.0 + (self.heaviest - 1.0) * 0.5 ** (rows / FORGET_ROWS)
        capacity, earned = self.capacity, self.eps * rows
        self.answered_rows += rows
        self.allowed += earned
        self.reserve = min(capacity, self.reserve + earned)
        self.widest = max(self.widest, capacity)
        self.excess = max(0.0, self.excess - earned)

    def left_early(self, rows: int, weight: float, heaviest: float) -> None:
        """`rows` left early and await the full vote; `weight` is their summed 1 / q, `heaviest` the highest."""
        self.unconfirmed_rows += rows
        self.unconfirmed += weight
        self.most_unconfirmed = max(self.most_unconfirmed, self.unconfirmed)
        self.heaviest = max(self.heaviest, heaviest)

    def confirmed(self, rows: int, weight: float) -> None:
        """`rows` that awaited the full vote have got it, or never will; `weight` is their summed 1 / q."""
        self.unconfirmed_rows -= rows
        self.unconfirmed = self.unconfirmed - weight if self.unconfirmed_rows > 0 else 0.0

    def lost(self, weight: float) -> None:
        """Losses were seen; `weight` is their summed 1 / q: lambda += g x weight, without an upper end."""
        self.losses += weight
        self.reserve -= weight
        self.excess += weight
        self.worst_excess = max(self.worst_excess, self.excess)

    @property
    def broken(self) -> bool:
        """True if the promise was broken: more than eps T + P losses, or eps W + 1/g + P in some window of W answers.

        Counted apart from the reserve, so that it would find a reserve that was kept wrongly. Losses are weighted, so
        with sampled feedback it does not fire on bad luck.
        """
        rounding = 1e-6 * (1.0 + self.losses)
        return (
            self.losses > self.allowed + self.most_unconfirmed + rounding
            or self.worst_excess > self.widest + self.most_unconfirmed + rounding
        )

    def state(self) -> dict[str, float]:
        """Everything that a restart must not forget, by field name."""
        return {key: float(value) for key, value in asdict(self).items()}

    def restore(self, state: dict[str, float], clean: bool) -> None:
        """Take over a saved account; eps and g stay as the settings have them.

        Rows that awaited the full vote when the state was saved will never get it: each counts as lost. After an
        unclean stop nobody knows what was lost since the save, so nothing saved up is taken over: lambda =
        max(saved, 1).

        Raises:
            ValueError: a field is missing, or a number that no account can hold.
        """
        names = set(self.state())
        if missing := names - set(state):
            raise ValueError(f"saved account without {', '.join(sorted(missing))}")
        if not all(math.isfinite(float(state[key])) and float(state[key]) >= 0 for key in names - {"reserve"}):
            raise ValueError("saved account with a number that is negative or not finite")
        if not math.isfinite(float(state["reserve"])):
            raise ValueError("saved account whose reserve is not finite")
        for key in names - {"eps", "g", "answered_rows", "unconfirmed_rows"}:
            setattr(self, key, float(state[key]))
        self.answered_rows, self.unconfirmed_rows, self.unconfirmed = int(state["answered_rows"]), 0, 0.0
        self.reserve = min(self.reserve, self.capacity if clean else 0.0)
        if state["unconfirmed"]:
            self.lost(float(state["unconfirmed"]))
