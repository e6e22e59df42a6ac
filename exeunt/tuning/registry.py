"""The tuners by name: the one place that knows them all."""

from __future__ import annotations

from exeunt.errors import check_known
from exeunt.tuning.apparate.hill_climb import HillClimb
from exeunt.tuning.error_budget.budget_tuner import BudgetTuner
from exeunt.tuning.patience import Patience
from exeunt.tuning.static import Static
from exeunt.tuning.tuner import Setup, Tuner

TUNERS: dict[str, type[Tuner]] = {
    Static.name: Static,
    Patience.name: Patience,
    HillClimb.name: HillClimb,
    BudgetTuner.name: BudgetTuner,
}


def make_tuner(setup: Setup) -> Tuner:
    """The tuner that the settings name.

    Raises:
        ConfigError: no such tuner, or an option that it does not know.
    """
    name = setup.settings.tuner
    check_known("tuner", name, TUNERS, "exit")
    return TUNERS[name](setup)
