"""Calls of NAME_bag that Triton never answers: found by their age. Pure: no threads, no clock; the caller holds a lock.

Triton before 26.02 can lose a call of an ensemble: where one step is refused while another runs, the caller waits for
ever (core#466). A lost call would hold its ticket's place for ever, and with `max_tickets` of them nobody is served.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

LEAST_PATIENCE_S = 30.0
TIMES_EXPECTED = 4.0  # what all tickets in flight need one after the other; a longer call is taken for lost


def patience_us(bag_call_s: float, max_tickets: int, full_work_us: float) -> int:
    """How long a call may take.

    Args:
        bag_call_s: the setting; 0 chooses.
        max_tickets: calls under way at most.
        full_work_us: what one of the largest calls takes alone.
    """
    if bag_call_s > 0:
        return int(bag_call_s * 1e6)
    return int(max(LEAST_PATIENCE_S * 1e6, TIMES_EXPECTED * max_tickets * full_work_us))


@dataclass(slots=True)
class CallWatch:
    """The calls under way.

    Args:
        patience_us: age from which a call is taken for lost.

    Attributes:
        lost: calls that were, since start.
    """

    patience_us: int
    lost: int = 0
    _begun: dict[Hashable, tuple[int, int]] = field(default_factory=dict)  # who waits -> (secret, begun)

    def begin(self, waiter: Hashable, secret: int, now_us: int) -> None:
        """A call is sent; `waiter` waits for it and for no other."""
        self._begun[waiter] = secret, now_us

    def end(self, waiter: Hashable) -> bool:
        """The call has returned; False if it had been taken for lost before."""
        return self._begun.pop(waiter, None) is not None

    def take_lost(self, now_us: int) -> list[tuple[Hashable, int]]:
        """Calls that are too old, once each: (who waits, secret)."""
        late = [
            (waiter, secret)
            for waiter, (secret, begun_us) in self._begun.items()
            if now_us - begun_us > self.patience_us
        ]
        for waiter, _ in late:
            del self._begun[waiter]
        self.lost += len(late)
        return late
