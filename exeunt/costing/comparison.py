"""The comparison: every deployment, with and without exits, with full and with sampled feedback."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from exeunt.costing.answers import AnswerMix
from exeunt.costing.deployments import (
    DEPLOYMENTS,
    ColdStart,
    DeploymentOutcome,
    break_even_per_s,
    carried_per_s,
    function_per_member,
)
from exeunt.costing.load import Load
from exeunt.costing.prices import Prices


@dataclass(frozen=True, slots=True)
class Compared:
    """One way to answer, in every deployment.

    Attributes:
        answers: "plain ensemble", or how its exits are used.
        outcomes: one for each deployment.
        work_share: work per answer, in times of the full ensemble's.
        carried_per_s: rate that one machine can work off.
        break_even_per_s: rate above which one machine is cheaper than a function per answer.
    """

    answers: str
    outcomes: tuple[DeploymentOutcome, ...]
    work_share: float
    carried_per_s: float
    break_even_per_s: float

    def to_json(self) -> dict[str, Any]:
        """As plain values; what is not finite becomes None."""
        table = asdict(self)
        for outcome in table["outcomes"]:
            outcome |= {key: None for key, value in outcome.items() if value == np.inf}
        return table


def compare(
    mix: AnswerMix, shares_of_feedback: tuple[float, ...], load: Load, prices: Prices, cold: ColdStart, seed: int
) -> list[Compared]:
    """The plain ensemble, then the bag with each share of feedback, every deployment under the same arrivals."""
    ways = [("plain ensemble", mix.plain())]
    ways += [(f"exits, feedback {share:g}", replace(mix, feedback=share)) for share in shares_of_feedback]
    return [_compared(name, way, load, prices, cold, seed) for name, way in ways]


def _compared(name: str, mix: AnswerMix, load: Load, prices: Prices, cold: ColdStart, seed: int) -> Compared:
    # members that are started side by side run to the end: exits change nothing there, and are not listed
    deployments = [of for of in DEPLOYMENTS if name == "plain ensemble" or of is not function_per_member]
    return Compared(
        answers=name,
        outcomes=tuple(of(mix, load, prices, cold, np.random.default_rng(seed)) for of in deployments),
        work_share=mix.mean_work_us / mix.full_work_us,
        carried_per_s=carried_per_s(mix, prices.machine.cores),
        break_even_per_s=break_even_per_s(mix, prices),
    )
