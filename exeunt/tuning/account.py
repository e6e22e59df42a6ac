"""The error budget of one class of service: the arithmetic that the promise rests on (proof: docs/promise.md).

Kept in losses rather than in lambda: `saved_losses` is what the class may still lose, lambda = 1 - g * saved_losses.
In these units every answered row earns eps, every seen loss costs 1 / q, saved_losses >= 1 / g is cut off (lambda is
clipped below at 0), and debt is never forgiven (lambda is never clipped above). The sign of saved_losses, which
alone carries the promise, does not depend on g: g may change at any time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

Q_JUMP = 0.2  # one seen loss moves lambda by at most this much: g / q <= Q_JUMP


@dataclass(slots=True)
class Account:
    """Error budget of one class of service.

    Attributes:
        eps: promised share of losses, 0..1.
        g: step of lambda per loss; 1 / g losses can be saved up.
        saved_losses: losses that may still happen; starts at 0 (lambda = 1); negative = debt.
        answered_rows: rows answered so far (T).
        losses: losses seen so far, each counted 1 / q.
        unconfirmed_rows: rows that left early, were chosen to finish and still await the full vote.
        unconfirmed: the same, each counted 1 / q.
        most_unconfirmed: highest `unconfirmed` so far (P).
        least_q: lowest q of a row that left early so far.
        excess: highest value, over all starts of a window that ends now, of its losses - eps * its answers.
        worst_excess: highest `excess` so far.
    """

    eps: float
    g: float
    saved_losses: float = 0.0
    answered_rows: int = 0
    losses: float = 0.0
    unconfirmed_rows: int = 0
    unconfirmed: float = 0.0
    most_unconfirmed: float = 0.0
    least_q: float = 1.0
    excess: float = 0.0
    worst_excess: float = 0.0

    @property
    def lambda_(self) -> float:
        """How far from leaving: 1 and above, nobody leaves early; 0, the whole reserve is there."""
        return 1.0 - self.saved_losses / self.most_saved_losses

    @property
    def most_saved_losses(self) -> float:
        """Most losses that can be saved up: 1 / g, or more where a seen loss weighs more than one."""
        return max(1.0 / self.g, 1.0 / (Q_JUMP * self.least_q) if self.least_q < 1.0 else 0.0)

    @property
    def may_leave(self) -> bool:
        """True while lambda < 1."""
        return self.saved_losses > 0.0

    def answered(self, rows: int) -> None:
        """`rows` promised rows were answered, whatever their reason: lambda -= g * eps each, not below 0."""
        self.answered_rows += rows
        self.saved_losses = min(self.most_saved_losses, self.saved_losses + self.eps * rows)
        self.excess = max(0.0, self.excess - self.eps * rows)

    def left_early(self, rows: int, weight: float, least_q: float) -> None:
        """`rows` of them left early and await the full vote; `weight` is their summed 1 / q."""
        self.unconfirmed_rows += rows
        self.unconfirmed += weight
        self.most_unconfirmed = max(self.most_unconfirmed, self.unconfirmed)
        self.least_q = min(self.least_q, least_q)

    def confirmed(self, rows: int, weight: float) -> None:
        """`rows` that awaited the full vote have got it, or never will; `weight` is their summed 1 / q."""
        self.unconfirmed_rows -= rows
        self.unconfirmed = self.unconfirmed - weight if self.unconfirmed_rows > 0 else 0.0

    def lost(self, weight: float) -> None:
        """Losses were seen; `weight` is their summed 1 / q: lambda += g * weight, without an upper end."""
        self.losses += weight
        self.saved_losses -= weight
        self.excess += weight
        self.worst_excess = max(self.worst_excess, self.excess)

    @property
    def promised_losses(self) -> float:
        """Most losses that the promise allows by now: eps T + P."""
        return self.eps * self.answered_rows + self.most_unconfirmed

    @property
    def broken(self) -> bool:
        """True if the promise has been broken: more than eps T + P losses, or eps W + 1/g + P in some window W.

        Counted apart from lambda, so that it would find a lambda that was kept wrongly. Weighted losses, so that with
        sampled feedback it does not fire on luck.
        """
        slack = 1e-6 * (1.0 + self.losses)  # rounding of sums
        return (
            self.losses > self.promised_losses + slack
            or self.worst_excess > self.most_saved_losses + self.most_unconfirmed + slack
        )

    def state(self) -> dict[str, float]:
        """Everything that a restart must not forget, by field name."""
        return asdict(self)

    def restore(self, state: dict[str, float], clean: bool) -> None:
        """Take over a saved account; what the settings say (eps, g) stays.

        Rows that awaited the full vote when the state was saved never get it: each counts as a loss. After an unclean
        stop nobody knows what was lost since the save, so nothing saved up is taken over: lambda = max(saved, 1).

        Raises:
            ValueError: a field is missing.
        """
        try:
            self.answered_rows = int(state["answered_rows"])
            self.losses = float(state["losses"])
            self.least_q = float(state["least_q"])
            self.most_unconfirmed = float(state["most_unconfirmed"])
            self.excess = float(state["excess"])
            self.worst_excess = float(state["worst_excess"])
            saved_losses, orphans = float(state["saved_losses"]), float(state["unconfirmed"])
        except KeyError as missing:
            raise ValueError(f"saved account without {missing}") from None
        self.unconfirmed_rows, self.unconfirmed = 0, 0.0
        self.saved_losses = min(saved_losses, self.most_saved_losses if clean else 0.0)
        self.lost(orphans)
