"""The error budget of one class of service: the arithmetic that the promise rests on (proof: docs/promise.md).

Kept in losses rather than in lambda: `reserve` is what the class may still lose, lambda = 1 - g * reserve. In these
units every answered row earns eps, every seen loss costs 1 / q, a reserve of 1 / g is full and overflows (lambda is
clipped below at 0), and debt is never forgiven (lambda is never clipped above). Only the sign of the reserve carries
the promise, and it does not depend on g: g may change at any time.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

DEVIATION_PROBABILITY = 1e-6  # that sampled feedback alone passes `most_losses` at any time
_SLOPES = tuple(2.0**-k for k in range(24))  # values of s that are tried
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
        heaviest_ever: highest 1 / q so far.
        answered_rows: promised rows answered so far (T).
        allowed: eps summed over them (eps T).
        losses: losses seen so far, each counted 1 / q.
        unconfirmed_rows: rows that left early and still await the full vote, or the toss whether to run to it.
        unconfirmed: the same, each counted 1 until it is tossed and 1 / q once it is chosen.
        most_unconfirmed: highest `unconfirmed` at an early decision so far (P).
        tossed_since: what tosses have added to the weight of chosen rows since the last early decision.
        overdrawn: an early decision was made although more losses had been found than allowed. Never, by the rule.
        widest: highest capacity of the reserve so far (1 / g).
        excess: losses less eps x answers in the window that ends now and has the most.
        worst_excess: highest `excess` so far.
        received: losses that came from other accounts, summed; what was handed over later is not taken off.
    """

    eps: float
    g: float
    reserve: float = 0.0
    heaviest: float = 1.0
    answered_rows: int = 0
    allowed: float = 0.0
    losses: float = 0.0
    heaviest_ever: float = 1.0
    unconfirmed_rows: int = 0
    unconfirmed: float = 0.0
    most_unconfirmed: float = 0.0
    tossed_since: float = 0.0
    overdrawn: float = 0.0
    widest: float = 0.0
    excess: float = 0.0
    worst_excess: float = 0.0
    received: float = 0.0

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
        """`rows` left early on trust.

        Args:
            rows: how many left.
            weight: of those that await the full vote or the toss, summed: 1 / q where tossed already, else 1.
            heaviest: highest of those weights.
        """
        self.unconfirmed_rows += rows
        self.unconfirmed += weight
        self.most_unconfirmed = max(self.most_unconfirmed, self.unconfirmed)
        self._weighed(heaviest)
        self.tossed_since = 0.0
        self.overdrawn = max(self.overdrawn, self.losses - self.allowed - self.received)

    def tossed(self, chosen_rows: int, other_rows: int, q: float) -> None:
        """Early rows, each counted 1 until now, were tossed: the chosen count 1 / q from now on, the others nothing."""
        extra = chosen_rows * (1.0 / q - 1.0)
        self.unconfirmed_rows -= other_rows
        self.unconfirmed = self.unconfirmed + extra - other_rows if self.unconfirmed_rows > 0 else 0.0
        self.tossed_since += extra
        if chosen_rows:
            self._weighed(1.0 / q)

    def _weighed(self, weight: float) -> None:
        self.heaviest = max(self.heaviest, weight)
        self.heaviest_ever = max(self.heaviest_ever, weight)

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

    def hand_over(self, losses: float) -> None:
        """Losses came from another account (> 0; what does not fit is void) or were taken for one (< 0)."""
        if losses > 0.0:
            losses = max(0.0, min(losses, self.capacity - self.reserve))
            self.received += losses
            self.widest = max(self.widest, self.capacity)
            self.excess = max(0.0, self.excess - losses)
        self.reserve += losses

    @property
    def broken(self) -> bool:
        """True if the promise was broken (docs/promise.md, section 5).

        That is: an early decision was made with more losses found than eps T; or more than eps T + P losses, or
        eps W + 1/g + P in some window of W answers; what other accounts handed over comes on top of all three. P is
        the highest at an early decision: a row that is tossed later and chosen was counted 1 there and may be lost at
        1 / q, so what tosses have added since comes on top as well.

        Counted apart from the reserve, so that it would find a reserve that was kept wrongly. Losses are weighted, so
        with sampled feedback it does not fire on bad luck.
        """
        rounding = 1e-6 * (1.0 + self.losses)
        pending = self.most_unconfirmed + self.tossed_since + rounding
        return (
            self.overdrawn > rounding
            or self.losses > self.allowed + self.received + pending
            or self.worst_excess > self.widest + pending
        )

    @property
    def most_losses(self) -> float:
        """Losses within the promise now: eps T + P, what came from other accounts, and the deviation where q < 1."""
        promised = self.allowed + self.most_unconfirmed + self.received
        return promised + deviation(promised, 1.0 / self.heaviest_ever)

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
        state = {"received": 0.0} | state  # files from before accounts were handed over
        if missing := names - set(state):
            raise ValueError(f"saved account without {', '.join(sorted(missing))}")
        if not all(math.isfinite(float(state[key])) and float(state[key]) >= 0 for key in names - {"reserve"}):
            raise ValueError("saved account with a number that is negative or not finite")
        if not math.isfinite(float(state["reserve"])):
            raise ValueError("saved account whose reserve is not finite")
        for key in names - {"eps", "g", "answered_rows", "unconfirmed_rows", "tossed_since"}:
            setattr(self, key, float(state[key]))
        self.answered_rows, self.unconfirmed_rows, self.unconfirmed = int(state["answered_rows"]), 0, 0.0
        self.reserve = min(self.reserve, self.capacity if clean else 0.0)
        if state["unconfirmed"]:
            self.lost(float(state["unconfirmed"]))


def deviation(promised: float, q: float, probability: float = DEVIATION_PROBABILITY) -> float:
    """How many more losses than promised there may be by bad luck where early rows finish with probability q.

    Section 5 of docs/promise.md bounds the losses, but for `probability`, by (promised + ln(1 / probability) / s) /
    c(s) for any s chosen beforehand; here for 24 values of s at once, at a 24th of the probability each.

    Args:
        promised: eps T + P, in losses.
        q: lowest probability with which an early row was chosen to finish; 0 < q <= 1.
        probability: with which more may happen at any time.

    Returns:
        losses; 0 where q is 1.
    """
    if q >= 1.0:
        return 0.0
    log = math.log(len(_SLOPES) / probability)
    bounds = []
    for slope in _SLOPES:
        shrink = -math.log1p(q * math.expm1(-slope / q)) / slope
        bounds.append((promised + log / slope) / shrink)
    return min(bounds) - promised
