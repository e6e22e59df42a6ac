"""Options of the `hill_climb` tuner: the constants of the paper and those of the public code."""

from __future__ import annotations

from dataclasses import dataclass, replace

from exeunt.errors import ConfigError, check_known
from exeunt.tuning.apparate.threshold_search import PAPER, PUBLIC_CODE, SearchRules
from exeunt.tuning.tuner import Setup, options

MOST_ROWS = 4096  # kept where feedback is counted in batches


@dataclass(frozen=True, slots=True)
class HillClimbOptions:
    """Numbers to tune by; `window`, `trigger`, `period` and `utility` count rows, or batches if `in_batches`.

    Attributes:
        rules: steps of the climb.
        search_loss: loss allowed on the search window, 0..1; never more than the promised one.
        window: newest feedback that thresholds are searched on.
        trigger: newest feedback whose mean loss, above the promised one, triggers a search.
        period: from one ramp adjustment to the next.
        utility: newest feedback that the ramps' utilities are taken from.
        ramp_budget: most that active ramps may cost together, as a share of the latency without ramps.
        in_batches: count batches of feedback, not rows, and guard against repeated losses as the public code does.
        adjusts: whether ramps are adjusted at all.
        budget_us: `ramp_budget` in microseconds, or the cost of all exported ramps where that counts.
    """

    rules: SearchRules
    search_loss: float
    window: int
    trigger: int
    period: int
    utility: int
    ramp_budget: float
    in_batches: bool
    adjusts: bool = True
    budget_us: float = 0.0

    @property
    def longest(self) -> int:
        """The longest of the spans."""
        return max(self.window, self.trigger, self.period, self.utility)

    @property
    def most_rows(self) -> int:
        """Rows of feedback to keep."""
        return MOST_ROWS if self.in_batches else self.longest


# The paper does not say how long its search window is: 256 rows is this project's choice.
CONSTANTS = {
    "paper": HillClimbOptions(PAPER, 1.0, 256, 16, 128, 128, 0.02, in_batches=False),
    "public_code": HillClimbOptions(PUBLIC_CODE, 0.0001, 4, 1, 30, 20, 0.05, in_batches=True),
}


def choices(setup: Setup) -> HillClimbOptions:
    """What the operator chose, the source's constants where nothing was said.

    Raises:
        ConfigError: an unknown option, or a value that is not allowed.
    """
    source = setup.settings.tuner_options.get("constants", "paper")
    check_known("constants", source, CONSTANTS, "exit.tuner_options")
    constants = CONSTANTS[source]
    counts = {"window": constants.window, "trigger": constants.trigger, "period": constants.period}
    option_values = options(setup, constants=source, ramp_budget=constants.ramp_budget, adjust=True, **counts)
    for key in counts:
        if option_values[key] < 1:
            raise ConfigError(f"exit.tuner_options: {key} = {option_values[key]}; allowed: a whole number from 1")
    if not 0 <= option_values["ramp_budget"] <= 1:
        raise ConfigError(
            f"exit.tuner_options: ramp_budget = {option_values['ramp_budget']}; allowed: a number from 0 to 1"
        )
    return replace(
        constants,
        **{key: option_values[key] for key in counts},
        utility=min(constants.utility, option_values["period"]),
        ramp_budget=option_values["ramp_budget"],
        adjusts=option_values["adjust"],
        budget_us=_budget_us(setup, option_values["ramp_budget"]),
    )


def _budget_us(setup: Setup, ramp_budget: float) -> float:
    """The share told; where none was, at least what all exported ramps cost: export kept or raised its own budget."""
    allowed_us = ramp_budget * float(setup.costs.elapsed_us[-1])
    if "ramp_budget" in setup.settings.tuner_options:
        return allowed_us
    return max(allowed_us, float(setup.costs.head_us[:-1].sum()))
