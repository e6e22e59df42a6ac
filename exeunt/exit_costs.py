"""What the exits of a bag cost, and which of them belong to a gear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Costs:
    """Latency of the exits for one batch size, all float64 [exits], microseconds.

    An answer at active exit k costs elapsed_us[k] plus head_us of the active exits up to k (Apparate, public code).
    `gears` are those of the manifest: a batch goes through the exits of one of them.
    """

    elapsed_us: np.ndarray
    head_us: np.ndarray
    gears: tuple[tuple[int, ...], ...] = ()

    def latency_us(self, active: np.ndarray) -> np.ndarray:
        """Latency of an answer at each exit when the exits of `active` (bool [exits]) run their heads; [exits]."""
        import numpy as np

        return self.elapsed_us + np.cumsum(np.where(active, self.head_us, 0.0))

    @property
    def masks(self) -> np.ndarray:
        """Exits of every gear, the one for a machine at rest first; bool [gears, exits]."""
        return gear_masks(self.gears, len(self.elapsed_us))


def gear_masks(gears: tuple[tuple[int, ...], ...], exits: int) -> np.ndarray:
    """Exits of every gear, bool [gears, exits]; without gears there is one, with all exits."""
    import numpy as np

    return np.array([np.isin(np.arange(exits), gear) for gear in gears or (range(exits),)])
